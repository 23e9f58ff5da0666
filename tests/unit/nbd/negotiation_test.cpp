// SPDX-License-Identifier: Apache-2.0
// The handshake, option by option, good and bad.
#include "frontends/nbd/negotiation.hpp"

#include "frontends/nbd/wire.hpp"
#include "tests/unit/nbd/fixed_export.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace gemel::nbd {
namespace {

using test::FixedExport;
using State = Negotiation::State;

struct Reply {
    std::uint32_t option = 0;
    OptionReply type{};
    std::string data;
};

std::string text_of(const ByteBuffer& buffer) { return std::string(as_text(buffer)); }

template <typename... Parts>
std::string wire(Parts... parts) {
    ByteBuffer buffer;
    WireWriter writer(buffer);
    const auto put = [&](const auto& part) {
        if constexpr (std::is_convertible_v<decltype(part), std::string_view>) {
            writer.text(part);
        } else {
            writer.put(part);
        }
    };
    (put(parts), ...);
    return text_of(buffer);
}

std::string sized(std::string_view text) {
    return wire(static_cast<std::uint32_t>(text.size()), text);
}

std::string option(Option number, std::string_view data = {}) {
    return wire(kOptionMagic, number, static_cast<std::uint32_t>(data.size()), data);
}

// The data of INFO and GO.
std::string wanted(std::string_view name, std::initializer_list<Info> items = {}) {
    std::string list;
    for (const Info item : items) list += wire(item);
    return sized(name) + wire(static_cast<std::uint16_t>(items.size())) + list;
}

std::string queries(std::string_view name, std::initializer_list<std::string_view> list) {
    std::string data = sized(name) + wire(static_cast<std::uint32_t>(list.size()));
    for (const std::string_view query : list) data += sized(query);
    return data;
}

class NegotiationTest : public testing::Test {
   protected:
    // What a client says; returns what the server answers, as bytes.
    std::string feed(std::string_view bytes) {
        ByteBuffer replies;
        input_ += bytes;
        while (talk_.state() == State::haggling) {
            const std::size_t taken = talk_.take(as_bytes(input_), replies);
            if (taken == 0) break;
            input_.erase(0, taken);
        }
        return text_of(replies);
    }
    std::vector<Reply> ask(Option number, std::string_view data = {}) {
        return replies_in(feed(option(number, data)));
    }
    static std::vector<Reply> replies_in(const std::string& bytes) {
        std::vector<Reply> replies;
        WireReader reader(as_bytes(bytes));
        while (reader.remaining() > 0) {
            EXPECT_EQ(reader.get<std::uint64_t>(), kOptionReplyMagic);
            Reply reply;
            reply.option = reader.get<std::uint32_t>();
            reply.type = static_cast<OptionReply>(reader.get<std::uint32_t>());
            reply.data = reader.text();
            EXPECT_TRUE(reader.ok());
            if (!reader.ok()) break;
            replies.push_back(reply);
        }
        return replies;
    }
    // The only, or the last, reply to an option.
    OptionReply outcome(Option number, std::string_view data = {}) {
        const auto replies = ask(number, data);
        EXPECT_FALSE(replies.empty());
        if (replies.empty()) return OptionReply::server;
        EXPECT_EQ(replies.back().option, static_cast<std::uint32_t>(number));
        return replies.back().type;
    }
    void flags(std::uint32_t value = kFixedNewstyle | kNoZeroes) {
        EXPECT_EQ(feed(wire(value)), "");
    }

    FixedExport disk_{"disk0"}, other_{"disk1"};
    std::vector<Export*> exports_{&disk_};
    Negotiation talk_{exports_};
    std::string input_;
};

TEST_F(NegotiationTest, GreetingIsFixedNewstyle) {
    ByteBuffer greeting;
    talk_.greet(greeting);
    EXPECT_EQ(text_of(greeting), std::string("NBDMAGICIHAVEOPT\0\3", 18));
}

TEST_F(NegotiationTest, UnknownClientFlagsEndIt) {
    flags(4 | kFixedNewstyle);
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, ClientsWithoutFlagsAreServed) {
    flags(0);
    EXPECT_EQ(outcome(Option::go, wanted("disk0")), OptionReply::ack);
}

TEST_F(NegotiationTest, WhatIsNoOptionEndsIt) {
    flags();
    EXPECT_EQ(feed(std::string(16, 'x')), "");
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, EveryMessageMayComeByteByByte) {
    std::string all = wire(std::uint32_t{kFixedNewstyle}) + option(Option::list) +
                      option(Option::structured_reply) + option(Option::go, wanted("disk0"));
    std::string answers;
    for (const char byte : all) answers += feed(std::string(1, byte));
    const auto replies = replies_in(answers);
    EXPECT_EQ(replies.back().type, OptionReply::ack);
    EXPECT_EQ(talk_.state(), State::transmission);
    EXPECT_TRUE(talk_.agreement().structured);
}

TEST_F(NegotiationTest, ExportNameAnswersWithSizeFlagsAndZeroes) {
    flags(kFixedNewstyle);
    const std::string answer = feed(option(Option::export_name, "disk0"));
    ASSERT_EQ(answer.size(), 8U + 2 + 124);
    EXPECT_EQ(answer.substr(0, 8), wire(disk_.own_size));
    EXPECT_EQ(answer.substr(10), std::string(124, '\0'));
    EXPECT_EQ(talk_.state(), State::transmission);
    EXPECT_EQ(talk_.agreement().exported, &disk_);
}

TEST_F(NegotiationTest, NoZeroesSavesTheZeroes) {
    flags();
    EXPECT_EQ(feed(option(Option::export_name, "")).size(), 10U);
}

TEST_F(NegotiationTest, ExportNameThatCannotBeHadEndsIt) {
    flags();
    EXPECT_EQ(feed(option(Option::export_name, "nothing")), "");
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, ExportNameOfWhatIsRefusedEndsIt) {
    disk_.reason = "secondary";
    flags();
    EXPECT_EQ(feed(option(Option::export_name, "disk0")), "");
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, ExportNameAfterExtendedHeadersEndsIt) {
    flags();
    EXPECT_EQ(outcome(Option::extended_headers), OptionReply::ack);
    EXPECT_EQ(feed(option(Option::export_name, "disk0")), "");
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, ExportNameWithoutEndEndsIt) {
    flags();
    feed(wire(kOptionMagic, Option::export_name, std::uint32_t{0xffffffff}));
    EXPECT_EQ(talk_.state(), State::ended);
}

TEST_F(NegotiationTest, AbortIsAcknowledgedWhateverItCarries) {
    flags();
    EXPECT_EQ(outcome(Option::abort, "bye"), OptionReply::ack);
    EXPECT_EQ(talk_.state(), State::ended);
    EXPECT_EQ(talk_.reason(), "");
}

TEST_F(NegotiationTest, ListNamesAndDescribesEachExport) {
    exports_.push_back(&other_);
    flags();
    const auto replies = ask(Option::list);
    ASSERT_EQ(replies.size(), 3U);
    EXPECT_EQ(replies[0].data, sized("disk0") + "described");
    EXPECT_EQ(replies[1].data, sized("disk1") + "described");
    EXPECT_EQ(replies[2].type, OptionReply::ack);
    EXPECT_EQ(outcome(Option::list, "x"), OptionReply::invalid);
    disk_.reason = "secondary";
    EXPECT_EQ(ask(Option::list).size(), 2U) << "lists what would be refused";
}

TEST_F(NegotiationTest, TlsIsRefusedByPolicy) {
    flags();
    EXPECT_EQ(outcome(Option::starttls), OptionReply::policy);
    EXPECT_EQ(outcome(Option::starttls, "x"), OptionReply::invalid);
}

TEST_F(NegotiationTest, UnknownOptionsAreAnswered) {
    flags();
    for (const std::uint32_t number : {0U, 4U, 12U, 0x80000001U, 0xffffffffU}) {
        EXPECT_EQ(outcome(static_cast<Option>(number), "anything"), OptionReply::unsupported);
    }
    EXPECT_EQ(talk_.state(), State::haggling);
}

TEST_F(NegotiationTest, GoGivesSizeFlagsAndBlockSizes) {
    flags();
    const auto replies = ask(Option::go, wanted("disk0"));
    ASSERT_EQ(replies.size(), 3U);
    const std::uint16_t expected = kHasFlags | kSendFlush | kSendFua | kSendTrim |
                                   kSendWriteZeroes | kCanMultiConn | kSendCache | kSendFastZero;
    EXPECT_EQ(replies[0].data, wire(Info::exported, disk_.own_size, expected));
    EXPECT_EQ(replies[1].data, wire(Info::block_size, std::uint32_t{512}, std::uint32_t{4096},
                                    std::uint32_t{32 << 20}));
    EXPECT_EQ(replies[2].type, OptionReply::ack);
    EXPECT_EQ(talk_.state(), State::transmission);
}

TEST_F(NegotiationTest, InfoGivesWhatIsWantedAndStays) {
    flags();
    const auto replies =
        ask(Option::info, wanted("", {Info::description, Info::name, static_cast<Info>(77)}));
    ASSERT_EQ(replies.size(), 5U);
    EXPECT_EQ(replies[2].data, wire(Info::name, std::string_view("disk0")));
    EXPECT_EQ(replies[3].data, wire(Info::description, std::string_view("described")));
    EXPECT_EQ(talk_.state(), State::haggling);
}

TEST_F(NegotiationTest, ReadOnlyExportsSaySo) {
    disk_.read_only = true;
    flags();
    const auto replies = ask(Option::go, wanted("disk0"));
    WireReader reader(as_bytes(replies[0].data));
    reader.bytes(10);
    const auto got = reader.get<std::uint16_t>();
    EXPECT_TRUE((got & kReadOnly) != 0);
    EXPECT_EQ(got & (kSendTrim | kSendWriteZeroes | kSendFastZero), 0);
}

TEST_F(NegotiationTest, UnknownNamesAndMissingDefaultsAreAnswered) {
    exports_.push_back(&other_);
    flags();
    EXPECT_EQ(outcome(Option::go, wanted("disk9")), OptionReply::unknown);
    EXPECT_EQ(outcome(Option::info, wanted("")), OptionReply::unknown);
    EXPECT_EQ(outcome(Option::go, wanted("disk1")), OptionReply::ack);
    EXPECT_EQ(talk_.agreement().exported, &other_);
}

TEST_F(NegotiationTest, ARefusedExportIsRefusedWithItsReason) {
    disk_.reason = "beta serves mirror vm1";
    flags();
    for (const Option number : {Option::info, Option::go}) {
        const auto replies = ask(number, wanted("disk0"));
        ASSERT_EQ(replies.size(), 1U);
        EXPECT_EQ(replies[0].type, OptionReply::policy);
        EXPECT_EQ(replies[0].data, disk_.reason);
    }
    EXPECT_EQ(outcome(Option::structured_reply), OptionReply::ack);
    EXPECT_EQ(outcome(Option::set_meta_context, queries("disk0", {"base:allocation"})),
              OptionReply::policy);
    disk_.reason.clear();
    EXPECT_EQ(outcome(Option::go, wanted("disk0")), OptionReply::ack);
}

TEST_F(NegotiationTest, MalformedInfoAndGoAreInvalid) {
    flags();
    const std::string good = wanted("disk0", {Info::name});
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_EQ(outcome(Option::go, good.substr(0, size)), OptionReply::invalid) << size;
    }
    EXPECT_EQ(outcome(Option::go, good + "x"), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::go, wire(std::uint32_t{0xffffffff}) + "disk0"), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::go, wanted(std::string(5000, 'n'))), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::go, wanted(std::string(4096, 'n'))), OptionReply::unknown);
    EXPECT_EQ(talk_.state(), State::haggling);
}

TEST_F(NegotiationTest, TooLongOptionsAreSkippedAndAnswered) {
    flags();
    const std::uint32_t size = 3 << 20;
    EXPECT_EQ(feed(wire(kOptionMagic, Option::list, size)), "");
    std::string answers;
    for (std::uint32_t sent = 0; sent < size; sent += 1 << 16) {
        answers += feed(std::string(1 << 16, 'x'));
    }
    const auto replies = replies_in(answers);
    ASSERT_EQ(replies.size(), 1U);
    EXPECT_EQ(replies[0].type, OptionReply::too_big);
    EXPECT_EQ(outcome(Option::go, wanted("disk0")), OptionReply::ack);
}

TEST_F(NegotiationTest, TheLongestOptionThatIsLookedAtFits) {
    flags();
    const std::string data(Negotiation::kOptionDataMax, 'x');
    const std::string whole = option(static_cast<Option>(99), data);
    ASSERT_EQ(whole.size(), Negotiation::kInputMax);
    ByteBuffer replies;
    EXPECT_EQ(talk_.take(as_bytes(whole), replies), whole.size());
}

TEST_F(NegotiationTest, StructuredRepliesHaveNoData) {
    flags();
    EXPECT_EQ(outcome(Option::structured_reply, "x"), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::extended_headers, "x"), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::go, wanted("disk0")), OptionReply::ack);
    EXPECT_FALSE(talk_.agreement().structured);
    EXPECT_FALSE(talk_.agreement().extended);
}

TEST_F(NegotiationTest, ExtendedHeadersStandAboveStructuredReplies) {
    flags();
    EXPECT_EQ(outcome(Option::structured_reply), OptionReply::ack);
    EXPECT_EQ(outcome(Option::extended_headers), OptionReply::ack);
    EXPECT_EQ(outcome(Option::structured_reply), OptionReply::extended_headers_required);
    const auto replies = ask(Option::go, wanted("disk0"));
    WireReader reader(as_bytes(replies[0].data));
    reader.bytes(10);
    const auto got = reader.get<std::uint16_t>();
    EXPECT_TRUE((got & kSendDf) != 0);
    EXPECT_EQ(got & kBlockStatusPayload, 0) << "no context was chosen";
    EXPECT_TRUE(talk_.agreement().extended && talk_.agreement().structured);
}

// ---- metadata contexts ------------------------------------------------------------------------

class ContextTest : public NegotiationTest {
   protected:
    ContextTest() { flags(); }
    std::vector<std::string> names(Option number, std::string_view data) {
        auto replies = ask(number, data);
        EXPECT_EQ(replies.back().type, OptionReply::ack);
        replies.pop_back();
        std::vector<std::string> result;
        for (const Reply& reply : replies) {
            EXPECT_EQ(reply.type, OptionReply::meta_context);
            result.push_back(reply.data.substr(4));
        }
        return result;
    }
    std::vector<std::string> both{"base:allocation", "gemel:dirty"};
};

TEST_F(ContextTest, TheyNeedStructuredReplies) {
    EXPECT_EQ(outcome(Option::list_meta_context, queries("disk0", {})), OptionReply::invalid);
    EXPECT_EQ(outcome(Option::set_meta_context, queries("disk0", {})), OptionReply::invalid);
}

TEST_F(ContextTest, ListingAnswersQueriesAndWildcards) {
    ask(Option::structured_reply);
    const auto list = [&](std::initializer_list<std::string_view> wish) {
        return names(Option::list_meta_context, queries("disk0", wish));
    };
    EXPECT_EQ(list({}), both);
    EXPECT_EQ(list({"base:"}), std::vector<std::string>{"base:allocation"});
    EXPECT_EQ(list({"gemel:", "base:allocation"}), both);
    EXPECT_EQ(list({"base:other", "qemu:dirty-bitmap:x", "nonsense", ""}),
              std::vector<std::string>{});
    disk_.dirty_context = false;
    EXPECT_EQ(list({}), std::vector<std::string>{"base:allocation"});
}

TEST_F(ContextTest, SettingTakesNoWildcards) {
    ask(Option::structured_reply);
    const auto set = [&](std::initializer_list<std::string_view> wish) {
        return names(Option::set_meta_context, queries("disk0", wish));
    };
    EXPECT_EQ(set({"base:", "gemel:"}), std::vector<std::string>{});
    EXPECT_EQ(set({}), std::vector<std::string>{});
    EXPECT_EQ(set({"gemel:dirty", "base:allocation", "base:allocation"}), both);
    ask(Option::go, wanted("disk0"));
    EXPECT_EQ(talk_.agreement().contexts, kAllocationContext | kDirtyContext);
}

TEST_F(ContextTest, OfAnotherExportTheyAreVoid) {
    exports_.push_back(&other_);
    ask(Option::structured_reply);
    ask(Option::set_meta_context, queries("disk1", {"base:allocation"}));
    ask(Option::go, wanted("disk0"));
    EXPECT_EQ(talk_.agreement().contexts, 0U);
}

TEST_F(ContextTest, AFailedSettingForgetsTheOneBefore) {
    ask(Option::extended_headers);
    ask(Option::set_meta_context, queries("disk0", {"base:allocation"}));
    EXPECT_EQ(outcome(Option::set_meta_context, "x"), OptionReply::invalid);
    ask(Option::go, wanted("disk0"));
    EXPECT_EQ(talk_.agreement().contexts, 0U);
}

TEST_F(ContextTest, TheDefaultNameMeansTheSameExport) {
    ask(Option::extended_headers);
    ask(Option::set_meta_context, queries("", {"base:allocation"}));
    const auto replies = ask(Option::go, wanted("disk0"));
    EXPECT_EQ(talk_.agreement().contexts, kAllocationContext);
    WireReader reader(as_bytes(replies[0].data));
    reader.bytes(10);
    EXPECT_NE(reader.get<std::uint16_t>() & kBlockStatusPayload, 0);
}

TEST_F(ContextTest, MalformedQueriesAreInvalid) {
    ask(Option::structured_reply);
    const std::string good = queries("disk0", {"base:allocation", "gemel:dirty"});
    for (const Option number : {Option::list_meta_context, Option::set_meta_context}) {
        for (std::size_t size = 0; size < good.size(); ++size) {
            EXPECT_EQ(outcome(number, good.substr(0, size)), OptionReply::invalid) << size;
        }
        EXPECT_EQ(outcome(number, good + "x"), OptionReply::invalid);
        EXPECT_EQ(outcome(number, queries("disk0", {std::string(4097, 'q')})),
                  OptionReply::invalid);
        EXPECT_EQ(outcome(number, queries("disk9", {"base:"})), OptionReply::unknown);
        std::string many = sized("disk0") + wire(std::uint32_t{65});
        for (int i = 0; i < 65; ++i) many += sized("a:b");
        EXPECT_EQ(outcome(number, many), OptionReply::too_big);
    }
}

}  // namespace
}  // namespace gemel::nbd
