import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.masking import masked

SECRETS = [
    "huggingface says 401 for hf_QzXwSecretSecret",
    "sent Authorization: Bearer QzXwSecretSecret",
    "sent authorization: basic UXpYd1NlY3JldA==QzXwSecret",
    "{'Authorization': 'Bearer QzXw SecretSecret', 'x': 1}",
    '{"headers": {\\"X-Api-Key\\": \\"QzXwSecretSecret\\"}}',
    "Bearer QzXwSecretSecret was refused",
    "Basic QzXwSecret== was refused",
    "civitai: key=QzXwSecretSecret",
    "error: token=QzXwSecretSecret",
    "error: HF_TOKEN = 'QzXw SecretSecret'",
    "password=QzXw,Secret;Secret",
    "api_key: QzXwSecretSecret",
    'got {"api-key":"QzXwSecretSecret"}',
    "openai: sk-QzXwSecretSecret",
    "Set-Cookie: session=QzXw; Secret=QzXw",
    "ghp_QzXwSecretSecret expired",
    "eyJhbGciOi.QzXwSecret.QzXwSecret",
    "https://user:QzXwSecret@civitai.com/api?token=QzXwSecretSecret",
    "proxy user:QzXwSecret@10.0.0.1:3128 refused",
    "cannot open '/srv/QzXw models/QzXw Secret.ckpt'",
    'cannot open "C:/Models/QzXw/a b QzXw.ckpt"',
    "\\\\nas\\QzXwSecret\\x missing",
    "no route to [fe80::dead:beef]:7860 of usr:QzXw@host",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_in_the_words_of_a_backend_is_not_passed_on(text):
    assert "QzXw" not in masked(text)
    assert "QzXw" not in masked(f"('first line', {text}")
    assert "QzXw" not in masked("x" * 1_990 + " " + text)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "10.1.2.3:7860", "fe80::1", "[2001:db8::1]:80", "2001:db8:0:0:0:0:0:1"]
)
def test_an_address_of_either_family_is_not_passed_on(address):
    assert masked(f"cannot reach {address}, tried twice") == "cannot reach [address], tried twice"


@pytest.mark.parametrize(
    "text",
    [
        "sampler and/or model",
        "KeyError: 'unet.down_blocks'",
        "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.65 GiB total)",
        "Input should be a valid integer, got 12:30:45",
        "Basic authentication failed: no user",
        "std::bad_alloc",
        "expected shape [1, 4, 64, 64]: got (1, 3)",
        "the option hf_token is not set",
    ],
)
def test_an_ordinary_sentence_stays_as_it_is(text):
    assert masked(text) == text


def test_what_is_said_is_one_line_and_short():
    assert masked("a\n\n b" + " c" * 4_000, 50) == ("a b" + " c" * 4_000)[:50]
    assert len(masked("a." * 2_000_000)) == 300


@given(st.text(alphabet="a:='\"\\ /@.-_[]0\n", max_size=60), st.integers(0, 80))
def test_no_text_is_too_odd_to_be_shortened(text, most):
    assert len(masked(text, most)) <= most
