"""What the tests of the models share."""

import keras
import pytest


@pytest.fixture
def without_weights():
    """Shapes and counts need no memory."""
    with keras.StatelessScope(initialize_variables=False):
        yield
