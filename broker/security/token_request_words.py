"""The fixed words of a token request, for the token endpoint and for its clients (S-040)."""

GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
