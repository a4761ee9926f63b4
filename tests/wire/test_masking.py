"""Both ways to mask give the same bytes."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from realtime.wire.masking import apply_mask, apply_mask_in_python


@given(data=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4))
def test_the_python_path_does_what_the_c_helper_does(data: bytes, mask: bytes) -> None:
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    assert apply_mask_in_python(data, mask) == masked
    assert apply_mask(data, mask) == masked


def test_the_c_helper_is_the_one_in_use() -> None:
    """Without it the codec is several times slower, and nothing else would tell."""
    assert apply_mask is not apply_mask_in_python


def test_without_the_c_helper_the_codec_still_works() -> None:
    program = (
        "import sys; sys.modules['websockets.speedups'] = None\n"
        "from realtime.wire.masking import apply_mask, apply_mask_in_python\n"
        "from realtime.wire.frames import Decoder\n"
        "assert apply_mask is apply_mask_in_python\n"
        "assert Decoder().feed(bytes.fromhex('818537fa213d7f9f4d5158')) == [b'Hello']\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
