/*
 * limits.c - the limits that matter to a load test on Windows. There are few: only memory limits handles, and there are no user limits.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "platform/platform.h"
#include "windows_system.h"

ntdll_pointer ntdll_function(const char *name)
{
	HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
	return ntdll == NULL ? NULL : (ntdll_pointer)GetProcAddress(ntdll, name);
}

const char *wine_version(void)
{
	typedef const char *(CDECL * version_function)(void);
	version_function version = (version_function)ntdll_function("wine_get_version");
	return version == NULL ? NULL : version();
}

uint64_t ib_process_raise_descriptor_limit(void)
{
	return IB_UNKNOWN; /* only memory limits handles */
}

/* Reads the output of a process until it ends or the deadline passes. False if the output is incomplete. */
static bool output_read(HANDLE pipe, HANDLE process, char *out, size_t size)
{
	size_t used = 0;
	for (uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S; clock_now_ns() < deadline_ns;) {
		DWORD ready = 0, got = 0;
		bool ended = WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
		/* Checked after checking for the end of the process, so no output is missed. */
		if (!PeekNamedPipe(pipe, NULL, 0, NULL, &ready, NULL)) {
			ready = 0;
		}
		if (ready > 0) {
			if (used + 1 >= size || !ReadFile(pipe, out + used, (DWORD)(size - used - 1), &got, NULL)) {
				return false;
			}
			used += got;
		} else if (ended) {
			out[used] = '\0';
			return true;
		} else {
			Sleep(5);
		}
	}
	return false;
}

/* Runs netsh and keeps its output. Only netsh reports the port range: no documented call does. */
static bool netsh_run(const wchar_t *arguments, char *out, size_t size)
{
	wchar_t folder[MAX_PATH], line[MAX_PATH + 128];
	UINT length = GetSystemDirectoryW(folder, MAX_PATH);
	if (length == 0 || length >= MAX_PATH) {
		return false;
	}
	_snwprintf(line, sizeof line / sizeof *line, L"\"%ls\\netsh.exe\" %ls", folder, arguments);
	line[sizeof line / sizeof *line - 1] = L'\0';

	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
	HANDLE reader, writer;
	if (!CreatePipe(&reader, &writer, &inherited, 0)) {
		return false;
	}
	SetHandleInformation(reader, HANDLE_FLAG_INHERIT, 0);
	STARTUPINFOW startup = {
	    .cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES, .hStdOutput = writer, .hStdError = writer};
	PROCESS_INFORMATION process;
	bool started = CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, folder, &startup, &process);
	CloseHandle(writer);
	bool read = started && output_read(reader, process.hProcess, out, size);
	if (started) {
		if (!read) {
			TerminateProcess(process.hProcess, 1);
		}
		CloseHandle(process.hThread);
		CloseHandle(process.hProcess);
	}
	CloseHandle(reader);
	return read;
}

/* The number after the next colon, or 0. *text moves past it. netsh prints in the user's language, but always in this form. */
static uint32_t number_behind_colon(const char **text)
{
	for (const char *colon = strchr(*text, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
		const char *digit = colon + 1;
		while (*digit == ' ') {
			digit++;
		}
		if (isdigit((unsigned char)*digit)) {
			char *end;
			uint32_t value = (uint32_t)strtoul(digit, &end, 10);
			*text = end;
			return value;
		}
	}
	return 0;
}

/* The range of dynamic ports. netsh prints the first port and the number of ports. Unknown if they cannot be read. */
static void limits_ports(struct ib_limits *out)
{
	char printed[2048];
	if (!netsh_run(L"interface ipv4 show dynamicport tcp", printed, sizeof printed)) {
		return;
	}
	const char *text = printed;
	uint32_t first = number_behind_colon(&text);
	uint32_t count = number_behind_colon(&text);
	if (first < 1 || first > UINT16_MAX || count < 1 || first + count > UINT16_MAX + 1u) {
		return;
	}
	out->port_first = first;
	out->port_last = first + count - 1;
}

/* Uses RtlGetVersion, because GetVersionEx reports 6.2 to every program whose manifest does not name a newer Windows. */
static void system_name(char *out, size_t size)
{
	typedef LONG(WINAPI * get_version)(OSVERSIONINFOW * version);
	get_version get = (get_version)ntdll_function("RtlGetVersion");
	OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
	if (get != NULL && get(&version) >= 0) {
		snprintf(out, size, "Windows %lu.%lu.%lu x86_64", version.dwMajorVersion, version.dwMinorVersion,
		         version.dwBuildNumber);
	} else {
		snprintf(out, size, "Windows x86_64");
	}
}

static void limits_machine(struct ib_limits *out)
{
	MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
	if (GlobalMemoryStatusEx(&memory)) {
		out->memory_total_bytes = memory.ullTotalPhys;
		out->memory_available_bytes = memory.ullAvailPhys;
	}
	DWORD cpus = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
	out->cpus_online = cpus > 0 ? (uint32_t)cpus : IB_UNKNOWN_32;
	out->clock_resolution_ns = clock_resolution_ns();
	memset(out->clock_source, 0, sizeof out->clock_source);
	memset(out->system, 0, sizeof out->system);
	memset(out->compatibility, 0, sizeof out->compatibility);
	snprintf(out->clock_source, sizeof out->clock_source, "qpc");
	system_name(out->system, sizeof out->system);
	const char *wine = wine_version();
	if (wine != NULL) {
		snprintf(out->compatibility, sizeof out->compatibility, "Wine %.32s", wine);
	}
}

int32_t ib_limits(struct ib_limits *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_limits", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	if (ib_process_usage(0, &usage, NULL) == IB_STATUS_OK) {
		out->descriptors_open = usage.descriptors;
	}
	limits_ports(out);
	limits_machine(out);
	return IB_STATUS_OK;
}
