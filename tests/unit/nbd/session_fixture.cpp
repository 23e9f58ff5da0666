// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd/session_fixture.hpp"

namespace gemel::test {

void NbdSessionTest::TearDown() {
    if (session_.server != nullptr) {
        EXPECT_TRUE(session_.end_service()) << world_.trace_text();
    }
}

void NbdSessionTest::serve(const NbdLimits& limits) {
    const Status status = session_.serve(limits);
    ASSERT_TRUE(status.ok()) << status.to_string();
}

std::unique_ptr<NbdClient> NbdSessionTest::connect(Form form) {
    auto client = session_.connect(form);
    EXPECT_NE(client, nullptr);
    return client;
}

void NbdSessionTest::run_until(const std::function<bool()>& condition) {
    if (!session_.run_until(condition)) ADD_FAILURE() << world_.trace_text();
}

NbdClient::Answer& NbdSessionTest::wait(NbdClient& client, std::uint64_t cookie) {
    NbdClient::Answer& answer = client.answer(cookie);
    run_until([&] { return answer.done || client.is_over() || !client.fault().empty(); });
    EXPECT_TRUE(answer.done);
    EXPECT_EQ(client.fault(), "");
    return answer;
}

std::string NbdSessionTest::pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>((i * 31 + (i >> 9) * 7 + seed) | 1);
    }
    return text;
}

}  // namespace gemel::test
