// A program with hostile neighbours: <syslog.h>, macros with everyday names, and a namespace of its
// own that is called rung. headers_test.py makes the two lists of headers, and compiles this.

#define RUNG_NO_SHORT_MACROS
#include <syslog.h>

#include STANDARD_HEADERS  // these do not live with the macros; rung's must

// Of windows.h and of old C programs.
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define ERROR 0
#define DEBUG 1
#define INFO 2
#define WARN 3
#define TRACE 4
#define FATAL 5
#define interface struct
#define small char
#define near
#define far
#define IN
#define OUT
#define OPTIONAL
#define BUSY 1
#define STRICT 1
#define check(x) (x)
// Of X11.
#define Status int
#define Bool int
#define None 0L
#define True 1
#define False 0
#define Success 0
#define Always 2
#define CurrentTime 0L
// Of Qt.
#define signals public
#define slots
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
// Of other libraries with annotations for clang.
#define GUARDED_BY(x) error
#define REQUIRES(...) error
#define EXCLUDES(...) error
#define ACQUIRE(...) error
#define RELEASE(...) error
#define CAPABILITY(x) error

#include RUNG_HEADERS

static_assert(LOG_INFO == 6, "that of <syslog.h>");

namespace acme::rung {

// A macro that names rung::Logger without `::` would find these.
struct Logger {};
struct LogLevel {};
struct LogVoidify {};

int answer(int question) {
  if (question > 41)
    RUNG_LOG_INFO << "more than " << question;
  else
    RUNG_LOG_SYSERR << "not " << question;
  RUNG_LOG_TRACE << 'a' << 1.5 << "b";
  syslog(LOG_INFO, "%d", question);
  return question;
}

}  // namespace acme::rung

int main() {
  ::rung::EventLoop loop;
  return acme::rung::answer(42);
}
