"""The contract suite, unchanged, on every server of the table."""

from tests.contract.test_conversations import *  # noqa: F403
from tests.contract.test_every_backend import *  # noqa: F403
from tests.contract.test_model_calls import *  # noqa: F403
