pytest_plugins=["tests.datasets"]
from tests.datasets import *
import time
import reformatters_dagster.core.template as T, reformatters_dagster.core.region_job as R, reformatters_dagster.core.publication as P, reformatters_dagster.core.dataset as D, reformatters_dagster.core.operations as O
from collections import defaultdict
spent=defaultdict(lambda:[0,0.0])
def wrap(owner,name):
    f=getattr(owner,name)
    def g(*a,**k):
        c=time.process_time()
        try: return f(*a,**k)
        finally: spent[name][0]+=1; spent[name][1]+=time.process_time()-c
    setattr(owner,name,g)
def test_x(site):
    site.arrive(INIT)
    site.update()
    wrap(T.TemplateConfig,'get_template'); wrap(R,'write_metadata'); wrap(P,'write_metadata'); wrap(D,'check_store'); wrap(R.RegionJob,'process'); wrap(D,'merge_ingested_lengths'); wrap(D,'commit_template'); wrap(O,'published_labels'); wrap(D,'hold_lease'); wrap(R,'write_shards'); wrap(R.RegionJob,'_fill'); wrap(R.RegionJob,'_download_group'); wrap(D.DynamicalDataset,'plan_partition'); wrap(D.DynamicalDataset,'commit_partition')
    c=time.process_time()
    for _ in range(5): site.update()
    print((time.process_time()-c)/5)
    for k,(n,s) in spent.items(): print(f"{k:25s} {n/5:5.1f} {s/5*1000:8.1f} ms")
