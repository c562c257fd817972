"""What the server sends to a site, as Flower records and back, and Flower's types of message."""

from dataclasses import replace

from flwr.app import RecordDict

from fedcl.compression.state import encode_state
from fedcl.messages.orders import Instruction, pack_instruction, unpack_instruction
from fedcl.messages.sum_questions import SumQuestion, pack_question, unpack_question
from fedcl.wire.records import packet_in, record_of

INTRODUCE = "query.introduce"
MOMENTS = "query.moments"
TRAIN = "train"
GRADIENT = "train.gradient"
STEP_MOMENTS = "query.step_moments"
STEP_SLOPES = "query.step_slopes"
SUM = "query.sum"
EVALUATION_SUMS = "query.evaluation_sums"
EVALUATION_ERRORS = "query.evaluation_errors"
ERASURE_SUMS = "query.erasure_sums"


def encode_instruction(instruction: Instruction) -> RecordDict:
    """Return the record of an instruction; build it once per round and `fresh_copy` it per site.

    Raises:
        CodecError: the weights cannot be encoded as the instruction asks.
    """
    weights = encode_state(instruction.weights, instruction.codec)
    return record_of(pack_instruction(replace(instruction, weights=weights)))


def decode_instruction(record: RecordDict) -> Instruction:
    """Read an instruction and check that the configuration is the one its hash names.

    Raises:
        WireError: the record is not an instruction, or its text was altered.
    """
    return unpack_instruction(packet_in(record))


def encode_question(question: SumQuestion) -> RecordDict:
    """Return the record of a question of a secure sum; it holds no arrays."""
    return record_of(pack_question(question))


def decode_question(record: RecordDict) -> SumQuestion:
    """Read a question of a secure sum.

    Raises:
        WireError: the record is not a question, or its text was altered.
    """
    return unpack_question(packet_in(record))
