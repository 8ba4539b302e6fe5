from tests.dataset_defs.facts import Facts

PRODUCT = "MultiSensor_QPE_01H_Pass1_00.00"
ARCHIVE = f"s3://noaa-mrms-pds/GUAM/{PRODUCT}"


def url(day: str, hour: int) -> str:
    return f"{ARCHIVE}/{day}/MRMS_{PRODUCT}_{day}-{hour:02d}0000.grib2.gz"


FACTS = Facts(
    url=ARCHIVE + r"/\d{8}/MRMS_MultiSensor_QPE_01H_Pass1_00\.00_\d{8}-\d{6}\.grib2\.gz",
    first=frozenset({(url("20220601", 0), url("20220601", 0))}),
    newest=frozenset({(url("20260802", 0), url("20260802", 9))}),
    region=(0.3456, 1),
)
