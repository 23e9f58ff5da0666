// SPDX-License-Identifier: Apache-2.0
// Ends of streams for the conformance suite, and what makes them.
#pragma once

#include "tests/unit/io/world.hpp"

namespace gemel::test {

// One end of a stream that notes what it hears.
struct End final : StreamHandler {
    std::unique_ptr<Stream> stream;
    std::string received;
    int closed = 0;
    int drained = 0;
    Status reason;
    bool in_own_call = false;
    std::function<void()> on_more;

    void take(std::unique_ptr<Stream> new_stream) {
        stream = std::move(new_stream);
        stream->set_handler(*this);
    }
    void on_data(Bytes data) noexcept override {
        EXPECT_FALSE(in_own_call);
        EXPECT_EQ(closed, 0);
        EXPECT_FALSE(data.empty());
        received += as_text(data);
        if (on_more) on_more();
    }
    void on_closed(Status new_reason) noexcept override {
        EXPECT_FALSE(in_own_call);
        ++closed;
        reason = new_reason;
    }
    void on_drained() noexcept override {
        EXPECT_FALSE(in_own_call);
        EXPECT_EQ(stream->unsent(), 0U);
        ++drained;
    }
    void send(std::string_view head, std::string_view body = {}) {
        in_own_call = true;
        stream->send(as_bytes(head), as_bytes(body));
        in_own_call = false;
    }
};

struct Acceptor final : ListenerHandler {
    std::vector<std::unique_ptr<End>> ends;
    std::function<void(std::unique_ptr<Stream>)> instead;

    void on_accepted(std::unique_ptr<Stream> stream) noexcept override {
        if (instead) return instead(std::move(stream));
        ends.push_back(std::make_unique<End>());
        ends.back()->take(std::move(stream));
    }
};

struct Connector final : ConnectHandler {
    End end;
    int calls = 0;
    Status failure;

    void on_connected(std::unique_ptr<Stream> stream) noexcept override {
        ++calls;
        end.take(std::move(stream));
    }
    void on_connect_failed(Status reason) noexcept override {
        ++calls;
        failure = reason;
    }
};

// Repeats every 4099 bytes, a prime, so that no shift by a buffer's size goes unnoticed.
inline std::string pattern(std::size_t size, unsigned seed) {
    std::string period(4099, '\0');
    for (std::size_t i = 0; i < period.size(); ++i) {
        period[i] = static_cast<char>((i * 31 + (i >> 8) * 7 + seed) & 0xff);
    }
    std::string text;
    text.reserve(size + period.size());
    while (text.size() < size) text += period;
    text.resize(size);
    return text;
}

}  // namespace gemel::test
