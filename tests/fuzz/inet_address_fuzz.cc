// InetAddress takes what inet_pton(3) takes, and nothing else; and what it writes, it reads.

#include <arpa/inet.h>
#include <net/if.h>

#include <charconv>
#include <stdexcept>
#include <string>

#include "rung/net/InetAddress.h"

#include "tests/fuzz/Input.h"

using rung::InetAddress;
using rung::testing::Input;

namespace {

/// An interface by number, or by name if there is one.
bool isScope(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) return true;
  return if_nametoindex(std::string(text).c_str()) != 0;
}

bool isAddress(std::string_view text) {
  if (text.find('\0') != text.npos) return false;
  in6_addr address{};
  const std::size_t percent = text.find('%');
  const std::string host(text.substr(0, percent));
  const bool isV6 = inet_pton(AF_INET6, host.c_str(), &address) == 1;
  if (percent != text.npos) return isV6 && isScope(text.substr(percent + 1));
  return isV6 || inet_pton(AF_INET, host.c_str(), &address) == 1;
}

/// What the message quotes is the text or, if that is what is wrong, the address in it. what() is
/// read up to a zero byte.
bool names(const std::exception& e, std::string_view text) {
  const std::string message = e.what();
  const std::size_t quote = message.find('\'');
  if (quote == message.npos) return false;
  std::string quoted = message.substr(quote + 1);
  if (quoted.ends_with('\'')) quoted.pop_back();
  return text.find(quoted) != text.npos;
}

void checkPlain(std::string_view text, std::uint16_t port) {
  try {
    const InetAddress address(text, port);
    EXPECT(isAddress(text));
    EXPECT(address.port() == port);
    EXPECT(InetAddress(address.toIp(), port) == address);
    EXPECT(InetAddress::parse(address.toIpPort()) == address);
  } catch (const std::invalid_argument& e) {
    EXPECT(!isAddress(text));
    EXPECT(names(e, text));
  }
}

void checkWithPort(std::string_view text) {
  try {
    const InetAddress address = InetAddress::parse(text);
    EXPECT(InetAddress::parse(address.toIpPort()) == address);
    // The port is what stands behind the last colon, in decimal.
    EXPECT(std::stoul(std::string(text.substr(text.rfind(':') + 1))) == address.port());
    std::string_view ip = text.substr(0, text.rfind(':'));
    if (address.isIpv6()) ip = ip.substr(1, ip.size() - 2);
    EXPECT(InetAddress(ip, address.port()) == address);
  } catch (const std::invalid_argument& e) {
    EXPECT(names(e, text));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto port = input.number<std::uint16_t>();
  const std::string_view text = input.rest();
  checkPlain(text, port);
  checkWithPort(text);
  return 0;
}
