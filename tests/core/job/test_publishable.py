"""How far results let the template be published."""

from dataclasses import replace

import pytest

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.source.files import FileResult, SourceFileStatus
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from tests.datasets import INIT, RAIN, SECOND, TEMPERATURE, THIRD, Site, gfs_key
from tests.processed import HOUR

pytest_plugins = ["tests.datasets"]
INITS = (INIT, SECOND, THIRD)


@pytest.mark.parametrize(
    ("reached", "policy", "labels"),
    [
        ({TEMPERATURE: THIRD, RAIN: SECOND}, "any", 3),
        ({TEMPERATURE: THIRD, RAIN: SECOND}, "all", 2),
        ({TEMPERATURE: THIRD, RAIN: None}, "any", 3),
        ({TEMPERATURE: THIRD, RAIN: None}, "all", 0),
        ({TEMPERATURE: None, RAIN: None}, "any", 0),
    ],
)
def test_the_template_ends_where_results_end(
    site: Site, reached: dict[str, Timestamp | None], policy: str, labels: int
) -> None:
    template = site.dataset.template_config
    job = replace(site.job(publish_policy=policy), template_ds=template.get_template(THIRD + MOMENT))

    def files(newest: Timestamp | None) -> list[FileResult]:
        return [
            FileResult(coord=GfsSourceFileCoord(init_time=init, lead_time=HOUR)).advance(
                SourceFileStatus.SUCCEEDED if newest is not None and init <= newest else SourceFileStatus.READ_FAILED
            )
            for init in INITS
        ]

    cut = job.update_template_with_results({name: files(newest) for name, newest in reached.items()})
    assert list(cut.indexes["init_time"]) == list(INITS[:labels])


def test_what_became_of_a_file_is_said_once(site: Site) -> None:
    done = FileResult(coord=GfsSourceFileCoord(init_time=INIT, lead_time=HOUR)).advance(SourceFileStatus.SUCCEEDED)
    with pytest.raises(ValueError, match=f"{gfs_key(INIT, 1)} is Succeeded and cannot become ReadFailed"):
        done.advance(SourceFileStatus.READ_FAILED, "afterwards")
