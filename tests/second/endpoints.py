"""Every endpoint with each of its status codes, asked by hosts that share no code with the product. See asking.py."""
import asking

# In this order: each is a list of tests.
import joining  # isort: skip
import shapes  # isort: skip
import exchanging  # isort: skip
import reading  # isort: skip
import kerberos  # isort: skip
import members  # isort: skip
import outcasts  # isort: skip

asking.main(whole=True)
