// SPDX-License-Identifier: Apache-2.0
// What is done about each request: every command, every flag, every edge of the export; replies.
#include "frontends/nbd/request_plan.hpp"

#include "frontends/nbd/replies.hpp"
#include "frontends/nbd/wire.hpp"
#include "frontends/nbd/zero_runs.hpp"
#include "tests/unit/nbd/fixed_export.hpp"

#include <gtest/gtest.h>

namespace gemel::nbd {
namespace {

using Action = RequestPlan::Action;

constexpr std::uint64_t kSize = 1 << 20;

class RequestPlanTest : public testing::Test {
   protected:
    RequestPlanTest() { agreement_.exported = &disk_; }
    void extend() { agreement_.structured = agreement_.extended = true; }
    RequestPlan plan(Command command, std::uint64_t offset, std::uint64_t length,
                     unsigned flags = 0) {
        RequestHeader header;
        header.command = command;
        header.offset = offset;
        header.length = length;
        header.flags = static_cast<std::uint16_t>(flags);
        return plan_request(header, agreement_, ExportFacts(disk_));
    }
    void expect_error(const RequestPlan& got, Error error, std::uint64_t payload = 0) {
        EXPECT_EQ(got.action, Action::answer);
        EXPECT_EQ(got.error, error) << got.message;
        EXPECT_EQ(got.payload, payload);
    }

    test::FixedExport disk_{"disk0"};
    Agreement agreement_;
};

TEST_F(RequestPlanTest, HeadersAreReadInBothForms) {
    ByteBuffer compact, extended;
    WireWriter(compact).put(kRequestMagic);
    WireWriter(extended).put(kExtendedRequestMagic);
    for (ByteBuffer* buffer : {&compact, &extended}) {
        WireWriter writer(*buffer);
        writer.put(std::uint16_t{3});
        writer.put(Command::trim);
        writer.put(std::uint64_t{0x1122334455667788});
        writer.put(std::uint64_t{0x100000000});
    }
    WireWriter(compact).put(std::uint32_t{0x200});
    WireWriter(extended).put(std::uint64_t{0x300000000});
    ASSERT_EQ(compact.size(), request_header_size(false));
    ASSERT_EQ(extended.size(), request_header_size(true));
    const auto a = read_request_header(compact, false), b = read_request_header(extended, true);
    ASSERT_TRUE(a.has_value() && b.has_value());
    EXPECT_EQ(a->flags, 3);
    EXPECT_EQ(a->command, Command::trim);
    EXPECT_EQ(a->cookie, 0x1122334455667788U);
    EXPECT_EQ(a->offset, 0x100000000U);
    EXPECT_EQ(a->length, 0x200U);
    EXPECT_EQ(b->length, 0x300000000U);
    compact[0] = extended[0] = std::byte{0};
    EXPECT_FALSE(read_request_header(compact, false).has_value());
    EXPECT_FALSE(read_request_header(extended, true).has_value());
}

TEST_F(RequestPlanTest, RangesEndWhereTheExportDoes) {
    const std::pair<Command, Error> commands[] = {{Command::read, Error::invalid},
                                                  {Command::write, Error::no_space},
                                                  {Command::trim, Error::invalid},
                                                  {Command::cache, Error::invalid},
                                                  {Command::write_zeroes, Error::no_space}};
    for (const auto& [command, error] : commands) {
        SCOPED_TRACE(static_cast<int>(command));
        const std::uint64_t payload = command == Command::write ? 512 : 0;
        EXPECT_EQ(plan(command, kSize - 512, 512).action, Action::submit);
        EXPECT_EQ(plan(command, 0, 512).action, Action::submit);
        expect_error(plan(command, kSize, 512), error, payload);
        expect_error(plan(command, kSize - 512, 1024), error, payload * 2);
        expect_error(plan(command, ~std::uint64_t{0} - 511, 512), error, payload);
        expect_error(plan(command, kSize, 0), Error::none);
        expect_error(plan(command, 0, 0), Error::none);
    }
    agreement_.contexts = kAllocationContext;
    EXPECT_EQ(plan(Command::block_status, 0, kSize).action, Action::submit);
    expect_error(plan(Command::block_status, 512, kSize), Error::invalid);
    expect_error(plan(Command::block_status, 512, 0), Error::invalid);
}

TEST_F(RequestPlanTest, RangesKeepToTheMinimumBlock) {
    disk_.own_limits.minimum_block = 4096;
    expect_error(plan(Command::read, 512, 4096), Error::invalid);
    expect_error(plan(Command::read, 0, 512), Error::invalid);
    expect_error(plan(Command::write, 4096, 4097), Error::invalid, 4097);
    EXPECT_EQ(plan(Command::read, 4096, 8192).action, Action::submit);
    disk_.own_limits.minimum_block = 1;
    EXPECT_EQ(plan(Command::write, 3, 7).action, Action::submit);
}

TEST_F(RequestPlanTest, ReadOnlyExportsAreNotChanged) {
    disk_.read_only = true;
    expect_error(plan(Command::write, 0, 512), Error::not_permitted, 512);
    expect_error(plan(Command::trim, 0, 512), Error::not_permitted);
    expect_error(plan(Command::write_zeroes, 0, 512), Error::not_permitted);
    EXPECT_EQ(plan(Command::read, 0, 512).action, Action::submit);
    EXPECT_EQ(plan(Command::flush, 0, 0).action, Action::submit);
}

TEST_F(RequestPlanTest, PayloadsAreLimited) {
    disk_.own_size = std::uint64_t{1} << 40;
    disk_.own_limits.maximum_payload = 1 << 20;
    EXPECT_EQ(plan(Command::write, 0, 1 << 20).action, Action::submit);
    expect_error(plan(Command::write, 0, 2 << 20), Error::invalid, 2 << 20);
    EXPECT_EQ(plan(Command::write, 0, (32 << 20) + 512).action, Action::close);
    expect_error(plan(Command::read, 0, 2 << 20), Error::invalid);
    agreement_.structured = true;
    expect_error(plan(Command::read, 0, 2 << 20), Error::overflow);
    EXPECT_EQ(plan(Command::write_zeroes, 0, 0xfffffe00).action, Action::submit);
    disk_.own_limits.maximum_payload = 64 << 20;
    EXPECT_EQ(plan(Command::write, 0, 64 << 20).action, Action::submit);
}

TEST_F(RequestPlanTest, FlagsBelongToTheirCommands) {
    agreement_.structured = true;
    agreement_.contexts = kAllocationContext;
    const std::pair<Command, unsigned> good[] = {{Command::read, kDontFragment},
                                                 {Command::write, 0},
                                                 {Command::trim, 0},
                                                 {Command::write_zeroes, kNoHole | kFastZero},
                                                 {Command::block_status, kReqOne},
                                                 {Command::cache, 0}};
    for (const auto& [command, own] : good) {
        for (unsigned bit = 0; bit < 16; ++bit) {
            SCOPED_TRACE(std::to_string(static_cast<int>(command)) + "," + std::to_string(bit));
            const unsigned flag = 1U << bit;
            const bool allowed = flag == kFua || (own & flag) != 0;
            const RequestPlan got = plan(command, 0, 512, flag);
            EXPECT_EQ(got.action, allowed ? Action::submit : Action::answer);
            EXPECT_EQ(got.error, allowed ? Error::none : Error::invalid);
        }
    }
    agreement_.structured = false;
    expect_error(plan(Command::read, 0, 512, kDontFragment), Error::invalid);
}

TEST_F(RequestPlanTest, FlushHasNoRange) {
    EXPECT_EQ(plan(Command::flush, 0, 0, kFua).action, Action::submit);
    expect_error(plan(Command::flush, 512, 0), Error::invalid);
    expect_error(plan(Command::flush, 0, 512), Error::invalid);
}

TEST_F(RequestPlanTest, UnknownCommandsAreInvalid) {
    for (const unsigned number : {8U, 9U, 255U, 65535U}) {
        expect_error(plan(static_cast<Command>(number), 0, 512), Error::invalid);
    }
    EXPECT_EQ(plan(Command::disconnect, 0, 0).action, Action::finish);
}

TEST_F(RequestPlanTest, StatusNeedsAContext) {
    expect_error(plan(Command::block_status, 0, 512), Error::invalid);
}

TEST_F(RequestPlanTest, ExtendedRequestsSayWhatFollows) {
    extend();
    agreement_.contexts = kAllocationContext;
    EXPECT_EQ(plan(Command::write, 0, 512, kPayloadLength).payload, 512U);
    EXPECT_EQ(plan(Command::write, 0, 512, kPayloadLength).action, Action::submit);
    expect_error(plan(Command::write, 0, 512), Error::invalid);
    expect_error(plan(Command::write, 0, 0, kPayloadLength), Error::invalid);
    expect_error(plan(Command::read, 0, 512, kPayloadLength), Error::invalid, 512);
    expect_error(plan(static_cast<Command>(99), 0, 70, kPayloadLength), Error::invalid, 70);
    EXPECT_EQ(plan(Command::read, 0, std::uint64_t{1} << 33, kPayloadLength).action, Action::close);
    expect_error(plan(Command::block_status, 0, 1000, kPayloadLength), Error::invalid, 1000);
    disk_.own_size = std::uint64_t{1} << 50;
    EXPECT_EQ(plan(Command::write_zeroes, 0, std::uint64_t{1} << 49).action, Action::submit);
    expect_error(plan(Command::read, 0, std::uint64_t{1} << 33), Error::overflow);
    EXPECT_EQ(plan(Command::block_status, 0, 12, kPayloadLength).action, Action::look_again);
}

TEST_F(RequestPlanTest, StatusPayloadsChooseContexts) {
    extend();
    agreement_.contexts = kAllocationContext | kDirtyContext;
    RequestHeader header;
    header.command = Command::block_status;
    header.flags = kPayloadLength;
    const auto look = [&](std::uint64_t length, std::initializer_list<std::uint32_t> ids) {
        ByteBuffer payload;
        WireWriter writer(payload);
        writer.put(length);
        for (const std::uint32_t id : ids) writer.put(id);
        return plan_status(header, payload, agreement_, ExportFacts(disk_));
    };
    const RequestPlan one = look(512, {kDirtyContext});
    EXPECT_EQ(one.action, Action::submit);
    EXPECT_EQ(one.contexts, kDirtyContext);
    EXPECT_EQ(one.length, 512U);
    EXPECT_EQ(look(512, {kDirtyContext, kAllocationContext}).contexts, 3U);
    expect_error(look(512, {}), Error::invalid);
    expect_error(look(512, {3}), Error::invalid);
    expect_error(look(512, {0}), Error::invalid);
    expect_error(look(512, {1, 1}), Error::invalid);
    expect_error(look(kSize + 512, {1}), Error::invalid);
    agreement_.contexts = kAllocationContext;
    expect_error(look(512, {kDirtyContext}), Error::invalid);
    expect_error(plan_status(header, as_bytes("1234567"), agreement_, ExportFacts(disk_)),
                 Error::invalid);
    expect_error(plan_status(header, as_bytes("123456789"), agreement_, ExportFacts(disk_)),
                 Error::invalid);
}

TEST_F(RequestPlanTest, OutcomesBecomeTheProtocolsErrors) {
    RequestPlan zero;
    zero.kind = ExportRequestKind::zero;
    const auto of = [&](int error) { return error_of(Status::from_errno(error), zero); };
    EXPECT_EQ(error_of(Status(), zero), Error::none);
    EXPECT_EQ(of(EIO), Error::io);
    EXPECT_EQ(of(EROFS), Error::not_permitted);
    EXPECT_EQ(of(EDQUOT), Error::no_space);
    EXPECT_EQ(of(EFBIG), Error::no_space);
    EXPECT_EQ(of(ENODEV), Error::io);
    EXPECT_EQ(of(EOPNOTSUPP), Error::invalid);
    zero.flags = kFastZero;
    EXPECT_EQ(of(EOPNOTSUPP), Error::not_supported);
}

// ---- replies and runs of zeros ------------------------------------------------------------------

TEST(Replies, ExtentsAreMergedCutOffAndSplit) {
    const ReplyTarget compact{true, false, 7, 0}, extended{true, true, 7, 0};
    const std::vector<Extent> extents{{512, 1}, {512, 1}, {std::uint64_t{6} << 30, 0}};
    ByteBuffer buffer;
    put_status(buffer, compact, 1, extents, std::uint64_t{5} << 30, true);
    WireReader reader(buffer);
    reader.bytes(16);
    EXPECT_EQ(reader.get<std::uint32_t>(), 4U + 3 * 8);
    EXPECT_EQ(reader.get<std::uint32_t>(), 1U);
    EXPECT_EQ(reader.get<std::uint32_t>(), 1024U);
    EXPECT_EQ(reader.get<std::uint32_t>(), 1U);
    EXPECT_EQ(reader.get<std::uint32_t>(), 0xffff0000U);
    EXPECT_EQ(reader.get<std::uint32_t>(), 0U);
    EXPECT_EQ(reader.get<std::uint32_t>(), (std::uint64_t{5} << 30) - 1024 - 0xffff0000U);
    EXPECT_EQ(reader.get<std::uint32_t>(), 0U);
    EXPECT_TRUE(reader.at_end());

    buffer.clear();
    put_status(buffer, extended, 2, extents, std::uint64_t{5} << 30, false);
    WireReader wide(buffer);
    wide.bytes(24);
    EXPECT_EQ(wide.get<std::uint64_t>(), 8U + 2 * 16);
    EXPECT_EQ(wide.get<std::uint32_t>(), 2U);
    EXPECT_EQ(wide.get<std::uint32_t>(), 2U);
    EXPECT_EQ(wide.get<std::uint64_t>(), 1024U);
    EXPECT_EQ(wide.get<std::uint64_t>(), 1U);
    EXPECT_EQ(wide.get<std::uint64_t>(), (std::uint64_t{5} << 30) - 1024);
}

TEST(ZeroRuns, OnlyLongOnesAreRuns) {
    const auto runs = [](const ByteBuffer& data) {
        std::string text;
        for (Bytes rest(data); !rest.empty();) {
            const ContentRun run = front_run(rest);
            text += (run.is_zero ? "z" : "d") + std::to_string(run.size) + " ";
            rest = rest.subspan(run.size);
        }
        return text;
    };
    ByteBuffer data(200'000);
    EXPECT_EQ(runs(data), "z200000 ");
    data[100'000] = std::byte{1};
    EXPECT_EQ(runs(data), "z98304 d4096 z97600 ");
    data[32'767] = data[65'535 + 4096] = std::byte{1};
    EXPECT_EQ(runs(data), "d32768 z32768 d36864 z97600 ");
    EXPECT_EQ(runs(ByteBuffer(512)), "z512 ");
    EXPECT_EQ(runs(ByteBuffer(1, std::byte{9})), "d1 ");
    EXPECT_EQ(runs(ByteBuffer(70'000, std::byte{9})), "d70000 ");
}

}  // namespace
}  // namespace gemel::nbd
