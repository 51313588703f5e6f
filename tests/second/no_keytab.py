"""A host that has no keytab registers nobody."""
import asking
from kerberos import refused, register

asking.TESTS.clear()


@asking.test
def it_is_not_available():
    refused(register()[1], 503, "unavailable")


asking.main()
