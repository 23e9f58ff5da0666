// SPDX-License-Identifier: Apache-2.0
// Goal: two nodes that describe a mirror differently notice it and name the key; two that write
// the same in other words do not.
#include "controller/config.hpp"

#include <gtest/gtest.h>

#include <string>

namespace gemel {
namespace {

Config config_of(const std::string& mirror_lines, const std::string& detect = "1s") {
    ConfigContext context;
    context.check_files = false;
    ConfigResult result = parse_config(
        "cluster = {name = \"shop\", key = \"/k\"}\n"
        "node = {alpha = {links = [\"10.0.0.1:7800\"]}, beta = {links = [\"10.0.0.2:7800\"]}}\n"
        "[failover]\ndetect = \"" +
            detect +
            "\"\n"
            "[mirror.db]\nnodes = [\"alpha\", \"beta\"]\ndirectories = [\"/a\"]\n" +
            mirror_lines,
        "g.toml", context);
    EXPECT_TRUE(result.config.has_value()) << result.errors.at(0).to_string();
    return std::move(*result.config);
}

ConfigListing listing_of(const std::string& mirror_lines, const std::string& detect = "1s") {
    const Config config = config_of(mirror_lines, detect);
    return config_listing(config, config.mirrors[0]);
}

TEST(ConfigListing, IsEqualForOtherWordsOfTheSame) {
    const ConfigListing one = listing_of("sync-interval = \"1s\"\n", "1000ms");
    const ConfigListing other = listing_of("# a remark\nsync = \"write\"\n");
    EXPECT_EQ(one, other);
    EXPECT_EQ(config_digest(one), config_digest(other));
    EXPECT_EQ(describe_difference(one, "alpha", other, "beta"), "");
}

TEST(ConfigListing, NamesTheKeyThatDiffersAndBothValues) {
    const ConfigListing one = listing_of("sync-interval = \"1s\"\n");
    const ConfigListing other = listing_of("sync-interval = \"2s\"\n");
    EXPECT_NE(config_digest(one), config_digest(other));
    EXPECT_EQ(describe_difference(one, "alpha", other, "beta"),
              "'sync-interval' in [mirror.db] is 1s on alpha and 2s on beta");
    EXPECT_EQ(describe_difference(listing_of(""), "alpha", listing_of("", "2s"), "beta"),
              "'detect' in [failover] is 1s on alpha and 2s on beta");
}

TEST(ConfigListing, MembersOfEtcdCountInAnyOrder) {
    const auto with = [](const char* address) {
        return listing_of("[arbiter]\nkind = \"etcd\"\naddress = " + std::string(address) + "\n");
    };
    const ConfigListing one = with(R"(["10.0.0.9:2379", "10.0.0.8:2379"])");
    EXPECT_EQ(one, with(R"(["10.0.0.8:2379", "10.0.0.9:2379"])"));
    EXPECT_EQ(describe_difference(one, "alpha", with(R"("10.0.0.9:2379")"), "beta"),
              "'address' in [arbiter] is [\"10.0.0.8:2379\", \"10.0.0.9:2379\"] on alpha and "
              "[\"10.0.0.9:2379\"] on beta");
}

TEST(ConfigListing, NamesAKeyThatOnlyOneSideHas) {
    const ConfigListing one{{"a.x", "1"}, {"b.y", "2"}};
    const ConfigListing other{{"a.x", "1"}};
    EXPECT_EQ(describe_difference(one, "alpha", other, "beta"),
              "'y' in [b] is 2 on alpha and not set on beta");
    EXPECT_EQ(describe_difference(other, "alpha", one, "beta"),
              "'y' in [b] is not set on alpha and 2 on beta");
}

TEST(ConfigListing, TellsListsWithCommasApart) {
    EXPECT_NE(config_digest(listing_of("exclude = [\"a, b\"]\n")),
              config_digest(listing_of("exclude = [\"a\", \"b\"]\n")));
    EXPECT_NE(listing_of("exclude = ['a\", \"b']\n"), listing_of("exclude = [\"a\", \"b\"]\n"));
}

TEST(ConfigListing, SurvivesTheWireAndRefusesAnythingElse) {
    const ConfigListing listing = listing_of("start = \"x\"\n");
    const ByteBuffer bytes = encode_listing(listing);
    EXPECT_EQ(decode_listing(bytes), listing);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_EQ(decode_listing(Bytes(bytes).first(size)), std::nullopt) << size;
    }
    ByteBuffer longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_EQ(decode_listing(longer), std::nullopt);
    ByteBuffer huge(4, std::byte{0xff});
    EXPECT_EQ(decode_listing(huge), std::nullopt);
}

}  // namespace
}  // namespace gemel
