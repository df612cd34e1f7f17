/*
 * exchange_message.c - the four ways to find the end of a reply, each of them at any split of its bytes.
 */
#include "load/exchange_message.h"

#include <stdlib.h>
#include <string.h>

#include "iocp_bench.h"

bool message_pattern_open(struct message_pattern *pattern)
{
	pattern->borders = calloc(pattern->length + 1u, sizeof *pattern->borders);
	if (pattern->borders == NULL) {
		return false;
	}
	/* Knuth, Morris and Pratt. */
	uint32_t border = 0;
	for (uint32_t at = 1; at < pattern->length; at++) {
		while (border != 0 && pattern->bytes[border] != pattern->bytes[at]) {
			border = pattern->borders[border];
		}
		border += pattern->bytes[border] == pattern->bytes[at];
		pattern->borders[at + 1] = (uint16_t)border;
	}
	return true;
}

void message_pattern_close(struct message_pattern *pattern)
{
	free(pattern->borders);
	pattern->borders = NULL;
}

uint32_t message_prefix_bytes(uint32_t length_prefix)
{
	switch (length_prefix) {
	case IB_LENGTH_U8:
		return 1;
	case IB_LENGTH_U16BE:
	case IB_LENGTH_U16LE:
		return 2;
	default:
		return 4;
	}
}

static size_t malformed(struct message_reply *reply, const char *problem, enum reply_verdict *verdict)
{
	reply->problem = problem;
	*verdict = REPLY_MALFORMED;
	return 0;
}

static size_t exact_take(const struct message_pattern *pattern, struct message_reply *reply, const uint8_t *bytes,
                         size_t length, enum reply_verdict *verdict)
{
	size_t left = (size_t)(pattern->length - reply->bytes);
	size_t part = length < left ? length : left;

	if (memcmp(bytes, pattern->bytes + reply->bytes, part) != 0) {
		return malformed(reply, "it differs from --reply-exact", verdict);
	}
	*verdict = part == left ? REPLY_WHOLE : REPLY_MORE;
	return part;
}

static size_t until_take(const struct message_pattern *pattern, struct message_reply *reply, const uint8_t *bytes,
                         size_t length, enum reply_verdict *verdict)
{
	uint32_t matched = reply->matched;

	for (size_t at = 0; at < length;) {
		if (matched == 0) {
			const uint8_t *first = memchr(bytes + at, pattern->bytes[0], length - at);
			if (first == NULL) {
				break;
			}
			at = (size_t)(first - bytes);
		}
		while (matched != 0 && pattern->bytes[matched] != bytes[at]) {
			matched = pattern->borders[matched];
		}
		matched += pattern->bytes[matched] == bytes[at];
		at++;
		if (matched == pattern->length) {
			reply->matched = 0;
			*verdict = REPLY_WHOLE;
			return at;
		}
	}
	reply->matched = matched;
	*verdict = REPLY_MORE;
	return length;
}

static size_t bytes_take(uint64_t total, const struct message_reply *reply, size_t length, enum reply_verdict *verdict)
{
	uint64_t left = total - reply->bytes;

	*verdict = length >= left ? REPLY_WHOLE : REPLY_MORE;
	return length < left ? length : (size_t)left;
}

static bool is_little_endian(uint32_t length_prefix)
{
	return length_prefix == IB_LENGTH_U16LE || length_prefix == IB_LENGTH_U32LE;
}

static size_t prefixed_take(const struct message_frame *frame, struct message_reply *reply, const uint8_t *bytes,
                            size_t length, enum reply_verdict *verdict)
{
	uint32_t prefix_bytes = message_prefix_bytes(frame->length_prefix);
	size_t used = 0;

	*verdict = REPLY_MORE;
	for (; used < length && reply->bytes + used < prefix_bytes; used++) {
		uint32_t at = (uint32_t)(reply->bytes + used);
		reply->prefix = is_little_endian(frame->length_prefix) ? reply->prefix | (uint32_t)bytes[used] << 8 * at
		                                                       : reply->prefix << 8 | bytes[used];
		if (at + 1 == prefix_bytes) {
			int64_t left = (int64_t)reply->prefix + frame->length_added;
			if (left < 0) {
				return malformed(reply, "the length at its beginning is too small", verdict);
			}
			reply->left = (uint64_t)left;
		}
	}
	if (reply->bytes + used < prefix_bytes) {
		return used;
	}
	size_t rest = length - used;
	size_t part = rest < reply->left ? rest : (size_t)reply->left;
	reply->left -= part;
	*verdict = reply->left == 0 ? REPLY_WHOLE : REPLY_MORE;
	return used + part;
}

size_t message_reply_take(const struct message_frame *frame, struct message_reply *reply, const uint8_t *bytes,
                          size_t length, enum reply_verdict *verdict)
{
	size_t used;

	switch (frame->kind) {
	case IB_FRAME_EXACT:
		used = exact_take(&frame->pattern, reply, bytes, length, verdict);
		break;
	case IB_FRAME_UNTIL:
		used = until_take(&frame->pattern, reply, bytes, length, verdict);
		break;
	case IB_FRAME_BYTES:
		used = bytes_take(frame->length, reply, length, verdict);
		break;
	default:
		used = prefixed_take(frame, reply, bytes, length, verdict);
		break;
	}
	reply->bytes += used;
	return used;
}
