"""A region job: what dataset authors override, and the stages that carry it out.

`region_job` is where to begin: `RegionJob.process` calls the stages in the order of the data's way,
`group_plan` > `download` > `parts` > `read` > `kept` > `write` > `upload`. `publishable` says how far results let labels be
published. `hooks` is the page for authors of datasets; `idx_grib_job`, `mars_index_grib_job` and `whole_file_grib_job` implement
most of it for GRIB files. `cutting` makes jobs of a dataset, `files` lists what a job wants upstream.
"""
