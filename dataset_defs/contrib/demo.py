"""The radar of `reformat demo`: MRMS around Guam as it is, of invented precipitation.

The archive has the real files: those of the sample lie where it has its own. So it is not registered.
"""

from dataclasses import replace

from dataset_defs.contrib.mrms_guam import DATASET as GUAM

_REAL = GUAM.template_config

TEMPLATE = _REAL.model_copy(
    update={
        "dataset_id": "contrib-mrms-guam-demo",
        "attributes": _REAL.attributes.model_copy(
            update={
                "name": "SAMPLE DATA: MRMS precipitation around Guam, hourly",
                "description": "Invented precipitation in the format of NOAA's Multi-Radar Multi-Sensor system (MRMS) around "
                "Guam, made by `reformat demo`.",
                "attribution": "Invented by `reformat demo`; no data of NOAA.",
            }
        ),
    }
)

DATASET = replace(GUAM, template_config=TEMPLATE)
