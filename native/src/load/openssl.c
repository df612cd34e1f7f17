/*
 * openssl.c - finds OpenSSL in the running program and checks that it is the one whose functions openssl.h declares.
 */
#include <stdio.h>
#include <string.h>

#include "load/openssl.h"

/* OpenSSL_version_num() of OpenSSL is 0xMNN00PP0L since 3.0. BoringSSL reports 0x1010107f and LibreSSL 0x20000000. */
#define MAJOR_SHIFT 28
#define MAJOR_EXPECTED 3u
#define OPENSSL_VERSION_TEXT 0

static const char HINT[] =
    "use a build of Node.js that contains or is linked with OpenSSL 3, such as those of nodejs.org";

static int32_t unavailable(struct ib_error *error)
{
	error_hint(error, "%s", HINT);
	return IB_STATUS_UNAVAILABLE;
}

int32_t openssl_find(struct openssl *out, openssl_finder find, struct ib_error *error)
{
	const char *missing = NULL;
	void *found;

	memset(out, 0, sizeof *out);
/* A function's address is stored through its bytes, because C has no conversion from void * to a function pointer. */
#define OPENSSL_RESOLVE(result, name, parameters)                                                                      \
	found = find(#name);                                                                                               \
	memcpy(&out->name, &found, sizeof found);                                                                          \
	missing = found == NULL && missing == NULL ? #name : missing;
	OPENSSL_FUNCTIONS(OPENSSL_RESOLVE)
#undef OPENSSL_RESOLVE
	if (out->OpenSSL_version_num == NULL || out->OpenSSL_version == NULL) {
		error_set(error, IB_STATUS_UNAVAILABLE, 0, "TLS cannot be used: this build of Node.js does not export OpenSSL");
		return unavailable(error);
	}
	const char *version = out->OpenSSL_version(OPENSSL_VERSION_TEXT);
	if (out->OpenSSL_version_num() >> MAJOR_SHIFT != MAJOR_EXPECTED || strncmp(version, "OpenSSL ", 8) != 0) {
		error_set(error, IB_STATUS_UNAVAILABLE, 0,
		          "TLS cannot be used: this build of Node.js contains %.80s, not OpenSSL 3", version);
		return unavailable(error);
	}
	if (missing != NULL) {
		error_set(error, IB_STATUS_UNAVAILABLE, 0,
		          "TLS cannot be used: this build of Node.js does not export %s of %.80s", missing, version);
		return unavailable(error);
	}
	return IB_STATUS_OK;
}
