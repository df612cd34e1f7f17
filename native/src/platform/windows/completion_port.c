/*
 * completion_port.c - completion port helpers that the server and the client engine share.
 */
#include <stdlib.h>

#include "completion_port.h"

bool completion_port_can_skip(void)
{
	DWORD length = 0;
	int tcp_only[] = {IPPROTO_TCP, 0};
	if (WSAEnumProtocolsW(tcp_only, NULL, &length) != SOCKET_ERROR || WSAGetLastError() != WSAENOBUFS) {
		return false;
	}
	WSAPROTOCOL_INFOW *providers = malloc(length);
	int count = providers == NULL ? 0 : WSAEnumProtocolsW(tcp_only, providers, &length);
	bool all = count > 0;
	for (int index = 0; index < count; index++) {
		all = all && (providers[index].dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
	}
	free(providers);
	return all;
}

int completion_port_join(HANDLE port, socket_handle socket, bool skip_on_success)
{
	if (CreateIoCompletionPort((HANDLE)socket, port, 0, 0) == NULL) {
		return (int)GetLastError();
	}
	/* Nobody waits on the handle itself, so signalling it can be skipped too. */
	if (skip_on_success && !SetFileCompletionNotificationModes((HANDLE)socket, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
	                                                                               FILE_SKIP_SET_EVENT_ON_HANDLE)) {
		return (int)GetLastError();
	}
	return 0;
}

int completion_port_extension(socket_handle socket, GUID id, void *function, DWORD function_bytes)
{
	DWORD bytes = 0;
	if (WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, function, function_bytes, &bytes, NULL,
	             NULL) != 0) {
		return WSAGetLastError();
	}
	return 0;
}

const char *completion_port_skip_name(bool skip_on_success)
{
	return skip_on_success ? "skip-on-success" : "packet-on-success";
}
