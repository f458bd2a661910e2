"""What a bundle learns after its export, and how that is undone: good parts that were rejected, the lock, the audit.

policy.py   what is held back, and what a lesson may cost
report.py   what a lesson did, in figures
audit.py    the file that says who taught what, each record bound to the one before
entries.py  what the records of the audit say together
store.py    the folder beside a bundle: locked pictures, bundles that were in use, the audit
lesson.py   a lesson from its pictures to the new bundle; `export/learn/` makes that
undo.py     the bundle before comes back
"""
