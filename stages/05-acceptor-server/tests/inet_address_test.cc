#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "rung/net/InetAddress.h"

#include "tests/support/Thrown.h"

using rung::InetAddress;
using rung::testing::mentions;
using rung::testing::thrown;

namespace {

/// Whether it is refused with all of the text, and with a word on what is wrong in it.
bool refused(std::string_view text) {
  const std::string why = thrown<std::invalid_argument>([&] { (void)InetAddress::parse(text); });
  return mentions(why, {text}) && why.size() > text.size();
}

TEST_CASE("InetAddress: the default is every interface, any port") {
  const InetAddress any;
  CHECK(any.toIpPort() == "0.0.0.0:0");
  CHECK(any.family() == AF_INET);
  CHECK(InetAddress(8080).toIpPort() == "0.0.0.0:8080");
}

TEST_CASE("InetAddress: IPv4 and IPv6 from text and back") {
  CHECK(InetAddress("127.0.0.1", 80).toIpPort() == "127.0.0.1:80");
  CHECK(InetAddress("::1", 80).toIpPort() == "[::1]:80");
  CHECK(InetAddress("2001:db8:0:0:0:0:0:1", 443).toIp() == "2001:db8::1");
  CHECK(InetAddress("::1", 65535).port() == 65535);
  CHECK(InetAddress("::", 1).isIpv6());
  CHECK_FALSE(InetAddress("10.1.2.3", 1).isIpv6());
}

TEST_CASE("InetAddress: loopback of both families") {
  CHECK(InetAddress::loopback(7).toIpPort() == "127.0.0.1:7");
  CHECK(InetAddress::loopback(7, AF_INET6).toIpPort() == "[::1]:7");
}

TEST_CASE("InetAddress: parse reads what toIpPort writes") {
  for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[2001:db8::1]:1"}) {
    CHECK(InetAddress::parse(text).toIpPort() == text);
  }
}

// muduo logs a malformed address and goes on: the server then listens on 0.0.0.0, open to everyone.
TEST_CASE("InetAddress: bad text is refused, with the text in the message") {
  for (const char* text :
       {"", "localhost", "300.1.2.3", "1.2.3", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:5", ":::", "::1%",
        "::1%no-such-interface", "127.0.0.1%lo", "01.2.3.4"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(InetAddress(text, 80), std::invalid_argument);
  }
  CHECK(
      mentions(thrown<std::invalid_argument>([] { InetAddress("300.1.2.3", 80); }), {"300.1.2.3"}));
  CHECK_THROWS_AS(InetAddress(std::string_view("1.2.3.4\0x", 9), 80), std::invalid_argument);
}

TEST_CASE("InetAddress: parse refuses bad ports and missing brackets, naming the whole text") {
  for (const char* text :
       {"1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1",
        "1.2.3.4: 1", "1.2.3.4:1 ", "1.2.3.4:99999999999999999999"}) {
    CAPTURE(text);
    CHECK(refused(text));
  }
  // What was missing was called '', and what was mistyped stood there without its port.
  for (const char* text : {":8080", "300.1.2.3:80", "localhost:80", "[fe80::1%no-such]:80"}) {
    CAPTURE(text);
    CHECK(refused(text));
  }
  for (const char* text : {"[]:80", "::1:80", "[127.0.0.1]:80", "[::1:80", "::1]:80"}) {
    CAPTURE(text);
    CHECK(refused(text));
  }
}

// A port was a std::uint16_t: what the user had read as an int, 70000 became 4464 without a word.
TEST_CASE("InetAddress: a port that is none is refused with its number") {
  using Refused = std::invalid_argument;
  CHECK(mentions(thrown<Refused>([] { InetAddress("127.0.0.1", 70000); }), {"70000"}));
  CHECK(mentions(thrown<Refused>([] { InetAddress("::1", 65536); }), {"65536"}));
  CHECK(mentions(thrown<Refused>([] { InetAddress(-1); }), {"-1"}));
  CHECK(mentions(thrown<Refused>([] { (void)InetAddress::loopback(65536); }), {"65536"}));
  CHECK(InetAddress(65535).port() == 65535);
  CHECK(InetAddress("::1", std::uint16_t{80}).port() == 80);  // not ambiguous
  CHECK(InetAddress(0).port() == 0);
}

TEST_CASE("InetAddress: a scope is an interface, by name or by number") {
  CHECK(InetAddress("fe80::1%lo", 80).toIp() == "fe80::1%lo");
  CHECK(InetAddress("fe80::1%1", 80).toIp() == "fe80::1%lo");
  CHECK(InetAddress("fe80::1%999999", 80).toIp() == "fe80::1%999999");
}

TEST_CASE("InetAddress: what the kernel is given is in network order, and comes back the same") {
  const InetAddress v4("1.2.3.4", 0x1234);
  const unsigned char bytes[] = {0x12, 0x34, 1, 2, 3, 4};
  CHECK(std::memcmp(reinterpret_cast<const char*>(v4.data()) + 2, bytes, sizeof bytes) == 0);
  CHECK(v4.length() == sizeof(sockaddr_in));
  const InetAddress v6("::1", 80);
  CHECK(v6.length() == sizeof(sockaddr_in6));
  for (const InetAddress& address : {v4, v6}) {
    sockaddr_storage storage{};
    std::memcpy(&storage, address.data(), address.length());
    CHECK(InetAddress(storage) == address);
  }
}

TEST_CASE("InetAddress: equal when family, address and port are") {
  CHECK(InetAddress("1.2.3.4", 80) == InetAddress("1.2.3.4", 80));
  CHECK(InetAddress("1.2.3.4", 80) != InetAddress("1.2.3.4", 81));
  CHECK(InetAddress("1.2.3.4", 80) != InetAddress("1.2.3.5", 80));
  CHECK(InetAddress("0.0.0.0", 80) != InetAddress("::", 80));
}

// A server on "::" saw its IPv4 peers as ::ffff:127.0.0.1, which was not equal to 127.0.0.1: a list
// of allowed addresses matched none of them.
TEST_CASE("InetAddress: an IPv4-mapped address is the IPv4 address, and can be made it") {
  const InetAddress mapped("::ffff:127.0.0.1", 80);
  const InetAddress plain("127.0.0.1", 80);
  CHECK(mapped == plain);
  CHECK(plain == mapped);
  CHECK(mapped != InetAddress("127.0.0.1", 81));
  CHECK(mapped != InetAddress("127.0.0.2", 80));
  CHECK(mapped.toIpPort() == "[::ffff:127.0.0.1]:80");
  CHECK(mapped.unmapped().toIpPort() == "127.0.0.1:80");
  CHECK(mapped.unmapped().family() == AF_INET);
  for (const char* other :
       {"127.0.0.1", "::1", "::127.0.0.1", "::fffe:127.0.0.1", "fe80::1%lo", "1::ffff:127.0.0.1"}) {
    CHECK(InetAddress(other, 80).unmapped().toIp() == InetAddress(other, 80).toIp());
  }
  CHECK(InetAddress("::127.0.0.1", 80) != plain);
  CHECK(InetAddress("fe80::1%1", 80) != InetAddress("fe80::1%2", 80));
}

TEST_CASE("InetAddress: of a Unix domain is \"unix:\" with port 0, and equals itself alone") {
  sockaddr_storage storage{};
  storage.ss_family = AF_UNIX;
  std::memcpy(reinterpret_cast<char*>(&storage) + sizeof storage.ss_family, "/run/x.sock", 12);
  const InetAddress address(storage);
  CHECK(address.isUnix());
  CHECK(address.toIp() == "unix");
  CHECK(address.toIpPort() == "unix:");
  CHECK(address.port() == 0);
  CHECK(address.length() == sizeof(sa_family_t));
  CHECK(address == address.unmapped());
  CHECK(address == InetAddress(storage));
  CHECK(address != InetAddress());
  CHECK(address != InetAddress("::", 0));
}

TEST_CASE("InetAddress: a small value") {
  static_assert(std::is_trivially_copyable_v<InetAddress>);
  static_assert(!std::is_convertible_v<int, InetAddress>);  // a port alone is no address
  CHECK(sizeof(InetAddress) == 28);
}

}  // namespace
