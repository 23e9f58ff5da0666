// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/nbd/client.hpp"

namespace gemel::test {

using nbd::Command;

void NbdClient::on_connected(std::unique_ptr<Stream> stream) noexcept {
    stream_ = std::move(stream);
    stream_->set_handler(*this);
}

void NbdClient::on_data(Bytes data) noexcept {
    received_ += as_text(data);
    parse();
}

void NbdClient::send_option(nbd::Option option, std::string_view data) {
    send("IHAVEOPT" + number(static_cast<std::uint32_t>(option)) +
         number(static_cast<std::uint32_t>(data.size())));
    send(data);
}

std::string NbdClient::request_bytes(Command command, std::uint64_t offset, std::uint64_t length,
                                     unsigned flags, std::uint64_t cookie) {
    asked_[cookie] = {command, offset, length};
    answers_[cookie] = Answer();
    std::string header =
        number(extended_ ? 0x21e41c71U : 0x25609513U) + number(static_cast<std::uint16_t>(flags)) +
        number(static_cast<std::uint16_t>(command)) + number(cookie) + number(offset);
    header += extended_ ? number(length) : number(static_cast<std::uint32_t>(length));
    return header;
}

std::uint64_t NbdClient::request(Command command, std::uint64_t offset, std::uint64_t length,
                                 unsigned flags, std::string_view payload) {
    const std::uint64_t cookie = next_cookie_++;
    send(request_bytes(command, offset, length, flags, cookie));
    send(payload);
    return cookie;
}

void NbdClient::parse() {
    if (phase_ == Phase::greeting && received_.size() >= 18) {
        if (received_.substr(0, 18) != std::string("NBDMAGICIHAVEOPT\0\3", 18)) blame("greeting");
        received_.erase(0, 18);
        greeted_ = true;
        phase_ = Phase::haggling;
    }
    while (phase_ == Phase::haggling && parse_option_answer()) {
    }
    while (phase_ == Phase::transmission && fault_.empty() && received_.size() >= 16) {
        std::string_view front(received_);
        const bool is_simple = get<std::uint32_t>(front) == 0x67446698U;
        if (is_simple && extended_) blame("a simple reply under extended headers");
        if (!(is_simple ? parse_simple() : parse_chunk())) break;
    }
}

bool NbdClient::parse_option_answer() {
    std::string_view front(received_);
    if (front.size() < 20) return false;
    if (get<std::uint64_t>(front) != 0x3e889045565a9U) blame("magic of an option's reply");
    get<std::uint32_t>(front);
    OptionAnswer answer;
    answer.type = get<std::uint32_t>(front);
    const auto size = get<std::uint32_t>(front);
    if (front.size() < size) return false;
    answer.data = front.substr(0, size);
    options_.push_back(answer);
    received_.erase(0, 20 + size);
    // What follows the end of GO is not for this parser.
    return answer.type != 1 || options_.size() < 2 || options_[0].type != 3;
}

bool NbdClient::parse_simple() {
    std::string_view front(received_);
    get<std::uint32_t>(front);
    const auto error = get<std::uint32_t>(front);
    const auto cookie = get<std::uint64_t>(front);
    const auto asked = asked_.find(cookie);
    if (asked == asked_.end()) {
        blame("a reply to nothing");
        return false;
    }
    const bool is_read = asked->second.command == Command::read;
    if (is_read && structured_) blame("a simple reply to a read");
    const std::size_t size = is_read && error == 0 ? asked->second.length : 0;
    if (front.size() < size) return false;
    Answer& answer = answers_[cookie];
    if (answer.done) blame("two replies to one request");
    answer.error = error;
    answer.content = front.substr(0, size);
    answer.done = true;
    ++answered_;
    received_.erase(0, 16 + size);
    return true;
}

bool NbdClient::parse_chunk() {
    const std::size_t header = extended_ ? 32 : 20;
    std::string_view front(received_);
    if (front.size() < header) return false;
    if (get<std::uint32_t>(front) != (extended_ ? 0x6e8a278cU : 0x668e33efU)) {
        blame("magic of a chunk");
        return false;
    }
    const auto flags = get<std::uint16_t>(front);
    const auto type = get<std::uint16_t>(front);
    const auto cookie = get<std::uint64_t>(front);
    const auto offset = extended_ ? get<std::uint64_t>(front) : 0;
    const std::uint64_t size = extended_ ? get<std::uint64_t>(front) : get<std::uint32_t>(front);
    if (front.size() < size) return false;
    if (asked_.count(cookie) == 0) {
        blame("a chunk of nothing");
        return false;
    }
    if (extended_ && offset != asked_[cookie].offset) blame("offset of an extended reply");
    Answer& answer = answers_[cookie];
    if (answer.done) blame("a chunk after the last");
    ++answer.chunks;
    take_chunk(answer, type, front.substr(0, size));
    if ((flags & 1) != 0) {
        answer.done = true;
        ++answered_;
        const Asked& asked = asked_[cookie];
        const bool is_whole = asked.command != Command::read || answer.error != 0 ||
                              answer.content.size() == asked.length;
        if (!is_whole) blame("a read that is not whole");
    }
    received_.erase(0, header + size);
    return true;
}

// Reads come in order of offsets from this server, so content is appended.
void NbdClient::take_chunk(Answer& answer, std::uint16_t type, std::string_view payload) {
    switch (type) {
        case 0:
            if (!payload.empty()) blame("a chunk of type none with content");
            return;
        case 1:
            get<std::uint64_t>(payload);
            if (payload.empty()) blame("a content chunk without content");
            answer.content += payload;
            return;
        case 2:
            get<std::uint64_t>(payload);
            answer.content.append(get<std::uint32_t>(payload), '\0');
            ++answer.holes;
            return;
        case 5:
        case 6: {
            const bool wide = type == 6;
            if (wide != extended_) blame("block status in the wrong form");
            Extents& extents = answer.contexts[get<std::uint32_t>(payload)];
            if (!extents.list.empty()) blame("two chunks of one context");
            if (wide && get<std::uint32_t>(payload) != payload.size() / 16) blame("count");
            while (!payload.empty()) {
                const std::uint64_t size =
                    wide ? get<std::uint64_t>(payload) : get<std::uint32_t>(payload);
                const std::uint64_t flags =
                    wide ? get<std::uint64_t>(payload) : get<std::uint32_t>(payload);
                if (size == 0) blame("an extent of no size");
                extents.list.emplace_back(size, flags);
            }
            return;
        }
        case 0x8001:
        case 0x8002:
            return take_error(answer, payload, type == 0x8002);
        default:
            blame("a chunk of unknown type");
    }
}

void NbdClient::take_error(Answer& answer, std::string_view payload, bool has_place) {
    answer.error = get<std::uint32_t>(payload);
    const auto size = get<std::uint16_t>(payload);
    if (answer.error == 0 || payload.size() != size + (has_place ? 8U : 0U)) blame("error chunk");
    answer.message = payload.substr(0, size);
}

}  // namespace gemel::test
