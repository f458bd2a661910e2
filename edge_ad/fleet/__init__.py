"""Many images, many machines (extras `fleet` and `ray`).

    worklist     what is to be inspected: a folder, a manifest, a URL; cut into shards
    inspector    a batch of images in, a batch of rows out; it pickles
    plan         which images are done, in flight, or to be tried again after a worker died
    pool, rays   the workers: processes of this PC, or actors of a Ray cluster
    results      the folder of results: who may write there, which shards are there
    driver       all of it in order
    evaluations, exports   commands that run side by side, here or on the cluster

`tables` alone imports pyarrow, `remote` alone fsspec, `rays` alone ray.
"""
