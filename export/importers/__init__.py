"""Bundles from models that other tools have trained: `python -m export.importers FILE --data CATEGORY --out X.bundle`.

A file is recognised by its content. Each tool has one module here, which `export.importers.registry.FORMATS` names: it
reads the files and says what the bundle is to be (`export.importers.base.Imported`). `export.importers.make` makes the
bundle with the steps of the export: the graph first, and everything else through it.

Nothing that a file holds is run. A pickle is read opcode by opcode (`export.importers.pickles`).
"""
