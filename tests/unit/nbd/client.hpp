// SPDX-License-Identifier: Apache-2.0
// An NBD client for tests, on a stream of the seam: all three forms of replies, extended headers
// included, and every way to send what must not be sent. It notes what comes; nothing of the
// server's code is used to read it.
#pragma once

#include "engine/io/network.hpp"
#include "frontends/nbd/protocol.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::test {

class NbdClient final : ConnectHandler, StreamHandler {
   public:
    struct OptionAnswer {
        std::uint32_t type = 0;
        std::string data;
    };
    struct Extents {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> list;  // size, flags
    };
    struct Answer {
        bool done = false;
        std::uint32_t error = 0;
        std::string message;
        std::string content;  // of a read, holes filled with zeros
        std::size_t chunks = 0, holes = 0;
        std::map<std::uint32_t, Extents> contexts;
    };

    NbdClient(Network& network, std::string_view path) {
        connecting_ = network.connect_local(path, *this);
    }
    NbdClient(Network& network, const SocketAddress& address) {
        connecting_ = network.connect(address, nullptr, *this);
    }
    ~NbdClient() = default;

    [[nodiscard]] bool is_greeted() const noexcept { return greeted_; }
    [[nodiscard]] bool is_over() const noexcept { return over_; }
    [[nodiscard]] std::size_t unsent() const noexcept { return stream_->unsent(); }
    // What the server has done wrong, or empty.
    [[nodiscard]] const std::string& fault() const noexcept { return fault_; }

    void send(std::string_view bytes) { stream_->send({}, as_bytes(bytes)); }
    void send_flags() { send(number(std::uint32_t{3})); }
    void send_option(nbd::Option option, std::string_view data = {});
    [[nodiscard]] std::vector<OptionAnswer>& options() noexcept { return options_; }
    // After GO has been acknowledged: from here on what comes is replies to requests.
    void begin(bool structured, bool extended) {
        phase_ = Phase::transmission;
        structured_ = structured || extended;
        extended_ = extended;
        parse();
    }

    // Returns the cookie. `length` is what the header says; `payload` follows it as it is.
    std::uint64_t request(nbd::Command command, std::uint64_t offset, std::uint64_t length,
                          unsigned flags = 0, std::string_view payload = {});
    std::string request_bytes(nbd::Command command, std::uint64_t offset, std::uint64_t length,
                              unsigned flags, std::uint64_t cookie);
    std::uint64_t write(std::uint64_t offset, std::string_view data, unsigned flags = 0) {
        if (extended_) flags |= nbd::kPayloadLength;
        return request(nbd::Command::write, offset, data.size(), flags, data);
    }
    [[nodiscard]] Answer& answer(std::uint64_t cookie) { return answers_[cookie]; }
    [[nodiscard]] std::size_t answered() const noexcept { return answered_; }
    void close() noexcept { stream_->close(); }

    template <typename T>
    static std::string number(T value) {
        std::string text(sizeof value, '\0');
        auto bits = static_cast<std::uint64_t>(value);
        for (std::size_t i = sizeof value; i-- > 0; bits >>= 8) {
            text[i] = static_cast<char>(bits & 0xff);
        }
        return text;
    }

   private:
    enum class Phase { greeting, haggling, transmission };

    void on_connected(std::unique_ptr<Stream> stream) noexcept override;
    void on_connect_failed(Status) noexcept override { over_ = true; }
    void on_data(Bytes data) noexcept override;
    void on_closed(Status) noexcept override { over_ = true; }

    void parse();
    bool parse_option_answer();
    bool parse_simple();
    bool parse_chunk();
    void take_chunk(Answer& answer, std::uint16_t type, std::string_view payload);
    void take_error(Answer& answer, std::string_view payload, bool has_place);
    template <typename T>
    static T get(std::string_view& text) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof(T) && !text.empty(); ++i, text.remove_prefix(1)) {
            value = value << 8 | static_cast<unsigned char>(text[0]);
        }
        return static_cast<T>(value);
    }
    void blame(std::string_view what) {
        if (fault_.empty()) fault_ = what;
    }

    struct Asked {
        nbd::Command command{};
        std::uint64_t offset = 0, length = 0;
    };
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<Stream> stream_;
    Phase phase_ = Phase::greeting;
    bool greeted_ = false, over_ = false;
    bool structured_ = false, extended_ = false;
    std::string received_;
    std::string fault_;
    std::vector<OptionAnswer> options_;
    std::map<std::uint64_t, Asked> asked_;
    std::map<std::uint64_t, Answer> answers_;
    std::size_t answered_ = 0;
    std::uint64_t next_cookie_ = 0x1000;
};

}  // namespace gemel::test
