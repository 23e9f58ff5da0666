// SPDX-License-Identifier: Apache-2.0
#include "controller/register_value.hpp"

#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

RegisterValue value(std::uint64_t epoch, std::uint8_t token) {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = "alpha";
    v.in_sync = {{"alpha", {uuid(1), uuid(2)}}, {"beta", {uuid(3), uuid(4)}}};
    v.previous = {{"beta", {uuid(3), uuid(4)}}};
    v.token = uuid(token);
    return v;
}

TEST(RegisterJudge, NextEpochOverTheExpectedValueWins) {
    EXPECT_EQ(judge(proposal({}, value(1, 9)), {}), SwapVerdict::won);
    EXPECT_EQ(judge(proposal(value(4, 8), value(5, 9)), value(4, 8)), SwapVerdict::won);
}

TEST(RegisterJudge, OwnTokenIsAWinAndNotAppliedTwice) {
    EXPECT_EQ(judge(proposal(value(4, 8), value(5, 9)), value(5, 9)), SwapVerdict::repeated);
}

TEST(RegisterJudge, SameEpochOfAnotherProposalLoses) {
    EXPECT_EQ(judge(proposal(value(4, 8), value(5, 9)), value(4, 7)), SwapVerdict::lost);
    EXPECT_EQ(judge(proposal(value(4, 8), value(5, 9)), value(5, 7)), SwapVerdict::lost);
    EXPECT_EQ(judge(proposal(value(4, 8), value(5, 9)), value(6, 7)), SwapVerdict::lost);
}

TEST(RegisterJudge, OnlyAPersonsForceMayLeaveOutEpochs) {
    RegisterProposal jump = proposal(value(4, 8), value(9, 9));
    EXPECT_EQ(judge(jump, value(4, 8)), SwapVerdict::lost);
    EXPECT_EQ(judge(proposal(value(4, 8), value(6, 9)), value(4, 8)), SwapVerdict::lost);
    EXPECT_EQ(judge(proposal(value(4, 8), value(6, 9)), value(4, 8), 2), SwapVerdict::won);
    EXPECT_EQ(judge(proposal(value(4, 8), value(7, 9)), value(4, 8), 2), SwapVerdict::lost);
    jump.forced = true;
    EXPECT_EQ(judge(jump, value(4, 8)), SwapVerdict::won);
    jump.value.epoch = 4;
    EXPECT_EQ(judge(jump, value(4, 8)), SwapVerdict::lost);
}

TEST(RegisterValue, AVoidIncarnationIsInNoSet) {
    RegisterValue v = value(1, 9);
    v.in_sync[0].incarnation = {uuid(1), {}};
    EXPECT_FALSE(v.has("alpha", {uuid(1), {}}));
    EXPECT_TRUE(v.has("beta", {uuid(3), uuid(4)}));
    EXPECT_FALSE(v.has("beta", {uuid(5), uuid(4)}));
}

ByteBuffer encoded(const RegisterValue& v) {
    ByteBuffer buffer;
    ByteWriter writer(buffer);
    encode(v, writer);
    return buffer;
}

TEST(RegisterCodec, ReturnsWhatWasEncoded) {
    for (const RegisterValue& v : {RegisterValue{}, value(7, 9)}) {
        const ByteBuffer buffer = encoded(v);
        ByteReader reader(buffer);
        EXPECT_EQ(decode_register_value(reader), v);
        EXPECT_TRUE(reader.at_end());
    }
}

TEST(RegisterCodec, EveryShorterInputFails) {
    const ByteBuffer buffer = encoded(value(7, 9));
    for (std::size_t size = 0; size < buffer.size(); ++size) {
        ByteReader reader(Bytes(buffer).first(size));
        (void)decode_register_value(reader);
        EXPECT_FALSE(reader.ok()) << size;
    }
}

TEST(RegisterCodec, NonsenseFailsInsteadOfBeingBelieved) {
    ByteBuffer buffer = encoded(value(7, 9));
    buffer[1] = std::byte{0};  // epoch 0 with members
    ByteReader reader(buffer);
    (void)decode_register_value(reader);
    EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace gemel
