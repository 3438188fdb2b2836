/*
 * The stdio MCP server of the benchmark: answers each request at once, with a text of params.arguments.bytes letters if
 * it asks for that. It looks for "id": and no further, which is enough for what the benchmark sends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IN_BYTES = 1 << 20, OUT_BYTES = 1 << 16, MAX_TEXT = 16 << 20 };

/* What tools answer is mostly words; a text without a space in it is rare, and costs more. */
static const char WORDS[] = "all that is read here is words, and more of them; ";

static char in[IN_BYTES + 1];
static char out[OUT_BYTES];
static size_t held;
static char *letters;
static long filled;

static void flush(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, length);
    if (written <= 0) exit(0);
    bytes += written;
    length -= (size_t)written;
  }
}

static void put(const char *bytes, size_t length) {
  if (held + length > OUT_BYTES) {
    flush(out, held);
    held = 0;
  }
  if (length > OUT_BYTES) {
    flush(bytes, length);
    return;
  }
  memcpy(out + held, bytes, length);
  held += length;
}

static void puttext(const char *text) { put(text, strlen(text)); }

static void answer(char *line) {
  char *id = strstr(line, "\"id\":");
  if (id == NULL) return;
  id += 5;
  size_t length = *id == '"' ? strcspn(id + 1, "\"") + 2 : strcspn(id, ",}");
  puttext("{\"jsonrpc\":\"2.0\",\"id\":");
  put(id, length);
  if (strstr(line, "\"tools/call\"") != NULL) {
    char *asked = strstr(line, "\"bytes\":");
    long bytes = asked == NULL ? 0 : atol(asked + 8);
    if (bytes < 0 || bytes > MAX_TEXT) bytes = 0;
    for (; filled < bytes; filled += 1) letters[filled] = WORDS[filled % (long)(sizeof WORDS - 1)];
    puttext(",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"pong");
    put(letters, (size_t)bytes);
    puttext("\"}]}}\n");
  } else if (strstr(line, "\"initialize\"") != NULL) {
    char *version = strstr(line, "\"protocolVersion\":\"");
    puttext(",\"result\":{\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"echo\",\"version\":\"1\"},\"protocolVersion\":\"");
    put(version == NULL ? "2025-06-18" : version + 19, 10);
    puttext("\"}}\n");
  } else if (strstr(line, "\"tools/list\"") != NULL) {
    puttext(",\"result\":{\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}]}}\n");
  } else {
    puttext(",\"result\":{}}\n");
  }
}

int main(void) {
  size_t have = 0;
  letters = malloc(MAX_TEXT);
  if (letters == NULL) return 1;
  for (;;) {
    ssize_t got = read(STDIN_FILENO, in + have, IN_BYTES - have);
    if (got <= 0) return 0;
    have += (size_t)got;
    char *from = in;
    for (char *end; (end = memchr(from, '\n', have - (size_t)(from - in))) != NULL; from = end + 1) {
      *end = 0;
      answer(from);
    }
    have -= (size_t)(from - in);
    memmove(in, from, have);
    if (held > 0) flush(out, held);
    held = 0;
  }
}
