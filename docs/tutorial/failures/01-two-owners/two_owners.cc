// A class that owns a descriptor, and can be copied. The copy closes what the original still uses,
// and the next file to be opened gets the number: from there on, one writes into the other.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <string>

class File {
 public:
  explicit File(const char* name) : fd_(memfd_create(name, MFD_CLOEXEC)) {}
  ~File() { close(fd_); }

  int number() const { return fd_; }
  void append(const std::string& text) {
    if (write(fd_, text.data(), text.size()) < 0) std::perror("write");
  }
  std::string content() const {
    char text[256];
    const ssize_t n = pread(fd_, text, sizeof text, 0);
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "";
  }

 private:
  int fd_;
};

// One `&` is missing. The copy is destroyed when the function returns.
void greet(File file) {
  file.append("start;");
}

int main() {
  File log("log");
  greet(log);
  File accounts("accounts");
  log.append("password of alice was wrong;");

  std::printf("log is descriptor %d, accounts is descriptor %d\n", log.number(), accounts.number());
  std::printf("accounts holds \"%s\"\n", accounts.content().c_str());
}
