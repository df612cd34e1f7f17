/*
 * address.c - parses and prints TCP addresses. The same on every platform.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"

/* The scope of a link-local address, given as the name or number of an interface. 0: no such interface. */
static uint32_t scope_of(const char *name)
{
	uint32_t scope = if_nametoindex(name);
	return scope != 0 ? scope : (uint32_t)strtoul(name, NULL, 10);
}

int32_t socket_address_parse(struct socket_address *out, const char *host, uint32_t port, uint32_t offset,
                             struct ib_error *error)
{
	memset(out, 0, sizeof *out);
	if (port > UINT16_MAX) {
		return error_set(error, IB_STATUS_USAGE, 0, "port %u is above 65535", port);
	}

	struct sockaddr_in *ipv4 = (struct sockaddr_in *)&out->storage;
	if (inet_pton(AF_INET, host, &ipv4->sin_addr) == 1) {
		uint32_t first = ntohl(ipv4->sin_addr.s_addr);
		if (offset > UINT32_MAX - first) {
			return error_set(error, IB_STATUS_ADDRESS, 0, "%s + %u is beyond the last IPv4 address", host, offset);
		}
		ipv4->sin_family = AF_INET;
		ipv4->sin_port = htons((uint16_t)port);
		ipv4->sin_addr.s_addr = htonl(first + offset);
		out->length = sizeof *ipv4;
		return IB_STATUS_OK;
	}

	char bare[64];
	snprintf(bare, sizeof bare, "%s", host);
	char *scope = strchr(bare, '%');
	if (scope != NULL) {
		*scope++ = '\0';
	}
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&out->storage;
	if (inet_pton(AF_INET6, bare, &ipv6->sin6_addr) == 1) {
		if (offset != 0) {
			return error_set(error, IB_STATUS_ADDRESS, 0, "several addresses need an IPv4 host, but %s is IPv6", host);
		}
		ipv6->sin6_family = AF_INET6;
		ipv6->sin6_port = htons((uint16_t)port);
		ipv6->sin6_scope_id = scope != NULL ? scope_of(scope) : 0;
		out->length = sizeof *ipv6;
		return IB_STATUS_OK;
	}
	error_set(error, IB_STATUS_ADDRESS, 0, "\"%s\" is not a numeric IPv4 or IPv6 address", host);
	error_hint(error, "give an address like 127.0.0.1 or ::1");
	return IB_STATUS_ADDRESS;
}

uint32_t socket_address_port(const struct socket_address *address)
{
	if (address->storage.ss_family == AF_INET6) {
		return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
	}
	return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
}

void socket_address_print(const struct socket_address *address, char *out, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";
	uint32_t port = socket_address_port(address);
	if (address->storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&address->storage)->sin6_addr, text, sizeof text);
		snprintf(out, size, "[%s]:%u", text, port);
	} else {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&address->storage)->sin_addr, text, sizeof text);
		snprintf(out, size, "%s:%u", text, port);
	}
}
