/*
 * wake_timer.c - a high-resolution timer that queues a packet at a completion port.
 *
 * Windows 8 and later can queue a packet when an object is signalled (a wait completion packet). Go and the thread pools of Windows
 * are built on it. Only ntdll exports it. If it is missing (Wine 8), an ordinary timer calls an APC, which ends an alertable wait.
 * High-resolution timers are not documented to call an APC.
 */
#include "load/windows/wake_timer.h"

#include <string.h>

#include "windows_system.h"

typedef LONG(WINAPI *packet_create)(HANDLE *out, ACCESS_MASK access, PVOID attributes);

#define PACKET_ALL_ACCESS 0x00000001u

static bool packet_open(struct wake_timer *wake)
{
	packet_create create = (packet_create)ntdll_function("NtCreateWaitCompletionPacket");
	wake->associate = (wake_associate)ntdll_function("NtAssociateWaitCompletionPacket");
	if (create == NULL || wake->associate == NULL || create(&wake->packet, PACKET_ALL_ACCESS, NULL) < 0) {
		wake->packet = NULL;
		return false;
	}
	return true;
}

bool wake_timer_open(struct wake_timer *wake, HANDLE port, ULONG_PTR key)
{
	memset(wake, 0, sizeof *wake);
	wake->port = port;
	wake->key = key;
	wake->timer = packet_open(wake) ? waitable_timer_create() : CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS);
	if (wake->timer == NULL) {
		wake_timer_close(wake);
		return false;
	}
	return true;
}

void wake_timer_close(struct wake_timer *wake)
{
	/* Closing a packet that still waits for the timer cancels it. */
	if (wake->packet != NULL) {
		CloseHandle(wake->packet);
	}
	if (wake->timer != NULL) {
		CancelWaitableTimer(wake->timer);
		CloseHandle(wake->timer);
	}
	memset(wake, 0, sizeof *wake);
}

static void CALLBACK timer_apc(void *argument, DWORD low, DWORD high)
{
	/* The call itself ends the alertable wait. */
	(void)argument;
	(void)low;
	(void)high;
}

uint32_t wake_timer_set(struct wake_timer *wake, uint64_t delay_ns)
{
	LARGE_INTEGER relative = {.QuadPart = -(LONGLONG)((delay_ns + 99) / 100)};
	if (relative.QuadPart == 0) {
		relative.QuadPart = -1;
	}
	uint32_t calls = 1;
	SetWaitableTimer(wake->timer, &relative, 0, wake->packet == NULL ? timer_apc : NULL, NULL, FALSE);
	if (wake->packet != NULL && !wake->associated) {
		BOOLEAN already = FALSE;
		calls++;
		wake->associated =
		    wake->associate(wake->packet, wake->port, wake->timer, (PVOID)wake->key, NULL, 0, 0, &already) >= 0;
	}
	return calls;
}

void wake_timer_fired(struct wake_timer *wake)
{
	wake->associated = false;
}

const char *wake_timer_name(const struct wake_timer *wake)
{
	return wake->packet != NULL ? "high-resolution-timer" : "apc-timer";
}
