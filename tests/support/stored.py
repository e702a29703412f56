"""What the tests of results in an object store share."""

import pytest

from tests.support.results import call

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto, which stands in for S3, is not installed")


from tests.support import stores

BUCKET = "results"
ANGRY = [(1.0, 3.0, {"angry": 0.9})]


def place(request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}"


def stored(address: str, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """Return all objects of a test."""
    s3, prefix = stores.client(address), place(request).removeprefix(f"s3://{BUCKET}/")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")
    return {
        own["Key"].removeprefix(f"{prefix}/"): s3.get_object(
            Bucket=BUCKET, Key=own["Key"]
        )["Body"].read()
        for own in listed.get("Contents", ())
    }


def calls(n: int, first: int = 0) -> list:
    return [call(f"{i}.wav", scored=ANGRY) for i in range(first, first + n)]
