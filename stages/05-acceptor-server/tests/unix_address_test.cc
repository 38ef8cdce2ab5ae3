#include <doctest/doctest.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include "rung/net/Endpoint.h"
#include "rung/net/UnixAddress.h"

#include "tests/support/Thrown.h"

using rung::Endpoint;
using rung::InetAddress;
using rung::UniqueFd;
using rung::UnixAddress;
using rung::testing::mentions;
using rung::testing::thrown;

namespace {

const std::string kLongest(107, 'x');

TEST_CASE("UnixAddress: text to address and back, a path and an abstract name") {
  const UnixAddress file = UnixAddress::parse("unix:/run/x.sock");
  CHECK(file.toText() == "unix:/run/x.sock");
  CHECK(std::string(file.path()) == "/run/x.sock");
  CHECK_FALSE(file.isAbstract());
  CHECK(file == UnixAddress("/run/x.sock"));
  const UnixAddress name = UnixAddress::parse("unix:@rung");
  CHECK(name.toText() == "unix:@rung");
  CHECK(name.isAbstract());
  CHECK(std::string(name.path()).empty());
  CHECK_FALSE(name == UnixAddress("rung"));
  CHECK_FALSE(name == UnixAddress("@rung2"));
  CHECK(UnixAddress("./@rung").toText() == "unix:./@rung");
}

TEST_CASE("UnixAddress: has the bytes that unix(7) asks for") {
  const auto bytes = [](const UnixAddress& address) {
    CHECK(address.data()->sa_family == AF_UNIX);
    return std::string(reinterpret_cast<const char*>(address.data()) + sizeof(sa_family_t),
                       address.length() - sizeof(sa_family_t));
  };
  using namespace std::string_literals;
  CHECK(bytes(UnixAddress("a/b")) == "a/b\0"s);
  CHECK(bytes(UnixAddress("@ab")) == "\0ab"s);  // a zero behind it would be a part of the name
  CHECK(bytes(UnixAddress(kLongest)) == kLongest + "\0"s);
  CHECK(bytes(UnixAddress("@" + kLongest)) == "\0"s + kLongest);
}

TEST_CASE("UnixAddress: what does not fit is refused, with the text and the limit") {
  for (const std::string& text :
       {"unix:" + kLongest + "x", "unix:@" + kLongest + "x", std::string("unix:"),
        std::string("unix:@"), std::string("/run/x.sock")}) {
    const std::string why = thrown<std::invalid_argument>([&] { (void)UnixAddress::parse(text); });
    CAPTURE(why);
    CHECK(mentions(why, {text}));
    if (text.size() > kLongest.size()) CHECK(mentions(why, {"107"}));
  }
  CHECK_THROWS_AS((void)UnixAddress::parse(std::string_view("unix:/a\0b", 9)),
                  std::invalid_argument);
  CHECK_THROWS_AS(UnixAddress(""), std::invalid_argument);
}

TEST_CASE("UnixAddress: from the kernel, also with names that other programs choose") {
  const auto textOf = [](std::string_view bytes) {
    sockaddr_storage address{};
    address.ss_family = AF_UNIX;
    std::memcpy(reinterpret_cast<char*>(&address) + sizeof(sa_family_t), bytes.data(),
                bytes.size());
    return UnixAddress(address, static_cast<socklen_t>(sizeof(sa_family_t) + bytes.size()))
        .toText();
  };
  using namespace std::string_view_literals;
  CHECK(textOf("/run/a\0"sv) == "unix:/run/a");
  CHECK(textOf("\0a\0b"sv) == "unix:@a@b");
  CHECK(textOf("") == "unix:");
  const std::string full(108, 'y');  // Linux allows it, without a zero byte
  CHECK(textOf(full) == "unix:" + full.substr(1));
}

TEST_CASE("Endpoint: one text names an IP address or a Unix socket") {
  CHECK(std::get<InetAddress>(Endpoint::parse("127.0.0.1:80").where()) ==
        InetAddress("127.0.0.1", 80));
  CHECK(std::get<UnixAddress>(Endpoint::parse("unix:/x").where()) == UnixAddress("/x"));
  for (const char* text : {"127.0.0.1:80", "[::1]:80", "unix:/run/x.sock", "unix:@name"})
    CHECK(Endpoint::parse(text).toText() == text);
  CHECK(Endpoint(UniqueFd(-1)).toText() == "descriptor -1");
}

TEST_CASE("Endpoint: port 70000, no host, no port and a path alone are clear errors") {
  for (const char* text : {"127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:", ":8080", "8080",
                           "localhost:80", "/run/x.sock", "", "unix:"}) {
    const std::string why = thrown<std::invalid_argument>([&] { (void)Endpoint::parse(text); });
    CAPTURE(why);
    CHECK(mentions(why, {text}));
    CHECK(why.size() > std::string_view(text).size());
  }
}

}  // namespace
