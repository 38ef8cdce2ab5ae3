#include "rung/net/Target.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <variant>

using rung::InetAddress;
using rung::Target;
using rung::UnixAddress;

namespace {

std::string whyNoTarget(const std::string& text) {
  try {
    return "taken as " + Target::parse(text).toText();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

TEST_CASE("Target: what parse() takes is what toText() writes") {
  for (const char* text : {"example.org:80", "localhost:65535", "127.0.0.1:1", "[::1]:80",
                           "unix:/run/x.sock", "unix:@name", "a-b_c.example.org.:443", "1.2.3:80"})
    CHECK(Target::parse(text).toText() == text);
}

TEST_CASE("Target: an address in numbers is one, and is never looked up") {
  CHECK(std::get<InetAddress>(Target::parse("127.0.0.1:80").where()) ==
        InetAddress("127.0.0.1", 80));
  CHECK(std::get<InetAddress>(Target("::1", 80).where()) == InetAddress("::1", 80));
  CHECK(std::get<InetAddress>(Target("fe80::1%lo", 80).where()).toIp() == "fe80::1%lo");
  CHECK(std::get<InetAddress>(Target(InetAddress("10.0.0.1", 5)).where()).port() == 5);
  CHECK(std::get<UnixAddress>(Target::parse("unix:@x").where()) == UnixAddress("@x"));
  const auto name = std::get<Target::Name>(Target("example.org", 80).where());
  CHECK(name.host == "example.org");
  CHECK(name.port == 80);
}

TEST_CASE("Target: text that is none is refused, with the text and the reason") {
  CHECK(whyNoTarget("nowhere") == "no port in the target: 'nowhere'");
  CHECK(whyNoTarget("host:") == "not a port number in the target: 'host:'");
  CHECK(whyNoTarget("host:70000") == "not a port number in the target: 'host:70000'");
  CHECK(whyNoTarget("host:http") == "not a port number in the target: 'host:http'");
  CHECK(whyNoTarget("host:0") == "not a port to connect to, in 'host:0': '0'");
  CHECK(whyNoTarget(":80") == "no host to connect to: ':80'");
  CHECK(whyNoTarget("::1:80") == "not HOST:PORT or [IPV6]:PORT: '::1:80'");
  CHECK(whyNoTarget("[host]:80") == "not HOST:PORT or [IPV6]:PORT: '[host]:80'");
  CHECK(whyNoTarget("[::x]:80").find("not an IPv4 or IPv6 address") == 0);
  for (const char* text : {"a b:80", "a/b:80", "a\n:80", "a]:80"})
    CHECK(whyNoTarget(text).find("a character that is in no name of a host: ") == 0);
  CHECK(whyNoTarget(std::string("a\0b:80", 6)).find("a character that is in no name") == 0);
  CHECK_THROWS_WITH(Target("host", 70000), "not a port to connect to, in 'host': '70000'");
  CHECK_THROWS_WITH(Target("host", -1), "not a port to connect to, in 'host': '-1'");
  CHECK_THROWS_WITH(Target(InetAddress("127.0.0.1", 0)),
                    "port 0 is not one to connect to: '127.0.0.1:0'");
  sockaddr_storage unixDomain{};
  unixDomain.ss_family = AF_UNIX;
  CHECK_THROWS_WITH(Target(InetAddress(unixDomain)), "an address without a path: 'unix:'");
}

TEST_CASE("Target: a name may have 253 bytes, and a dot behind them; 300 are refused") {
  const std::string longest(Target::kMaxHostBytes, 'a');
  CHECK(Target(longest, 80).toText() == longest + ":80");
  CHECK(Target(longest + ".", 80).toText() == longest + ".:80");
  CHECK_THROWS_AS(Target(longest + "a", 80), std::invalid_argument);
  CHECK(whyNoTarget(std::string(300, 'x') + ":80") ==
        "the name of a host is longer than 253 bytes: '" + std::string(300, 'x') + ":80'");
}

}  // namespace
