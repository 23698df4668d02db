"""A server that greets on stdout before it serves, as real ones do."""

import thin

thin.write_bytes(b"\n  *** Welcome! ***  \r\nListening on stdio...\n\xff\xfe\n\n")
thin.serve()
