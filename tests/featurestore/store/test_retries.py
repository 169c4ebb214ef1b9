"""What is advised about errors as clients of several clouds word them."""

import pytest

from featurestore.store.retries import advice, persist

S3 = "When reading information for key '{key}' in bucket 'b': AWS Error {said} during HeadObject operation: refused"
RENEW, CLOCK = "have expired: renew them", "The clock of this machine differs"


@pytest.mark.parametrize(
    ("message", "advised"),
    [
        (S3.format(key="k", said="EXPIRED_TOKEN"), RENEW),
        (S3.format(key="k", said="UNKNOWN (HTTP status 400)") + ": ExceptionName: ExpiredTokenException", RENEW),
        (S3.format(key="k", said="REQUEST_EXPIRED"), RENEW),
        (S3.format(key="k", said="REQUEST_TIME_TOO_SKEWED"), CLOCK),
        ("google::cloud::Status(UNAUTHENTICATED: invalid_grant: Token has been expired or revoked.", RENEW),
        ("AuthenticationFailed: Signature not valid in the specified time frame", RENEW),
        ("ErrorCode:ExpiredAuthenticationToken", RENEW),
        (S3.format(key="k", said="ACCESS_DENIED"), "The permission s3:GetObject is missing. The credentials do not"),
        ("curlCode: 60, SSL peer certificate or SSH remote key was not OK", "AWS_CA_BUNDLE"),
        ("CURL error [60]=SSL peer certificate or SSH remote key was not OK", "for gs:// as SSL_CERT_FILE"),
        ("403, message='Forbidden'", "The credentials do not allow it"),
        (S3.format(key="forbidden/expired token", said="SLOW_DOWN"), "See to it that the place can be reached"),
    ],
)
def test_what_is_advised_does_not_depend_on_how_a_client_spells_it(message, advised):
    assert advised in advice(OSError(message))


def test_what_names_hold_does_not_make_an_error_last():
    tries = []

    def work():
        tries.append(1)
        if len(tries) == 1:
            raise OSError(S3.format(key="access_denied/accessdenied", said="SLOW_DOWN"))

    persist(work, retries=1, remote=True)
    assert len(tries) == 2
