// SPDX-License-Identifier: Apache-2.0
#include "examples/key_value_log.hpp"

#include "examples/checksum.hpp"
#include <algorithm>
#include <cstring>
#include <utility>

namespace examples {

using libgemel::Error;

namespace {

struct Header {
    std::uint64_t checksum = 0;  // of all that follows, seeded
    std::uint32_t key_size = 0, value_size = 0;
};
static_assert(sizeof(Header) == 16);

constexpr std::uint32_t kKeyMax = 1024;
constexpr std::uint32_t kValueMax = 64 * 1024;
constexpr std::size_t kWindow = 256 * 1024;
constexpr std::uint64_t kSeed = 0x67656d656c6b7631;  // "gemelkv1"

std::uint64_t checksum_of(std::uint64_t seed, std::span<const std::byte> record) {
    return checksum(seed, record.subspan(sizeof(std::uint64_t)));
}

std::string text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Error KeyValueLog::load(std::uint64_t offset, std::size_t size) {
    if (offset >= window_begin_ && offset + size <= window_begin_ + window_.size()) {
        return Error::none;
    }
    window_begin_ = offset;
    window_.resize(std::min<std::uint64_t>(kWindow, volume_.size() - offset));
    return volume_.read(offset, window_);
}

Error KeyValueLog::recover() {
    values_.clear();
    window_.clear();
    end_ = 0;
    checksum_ = kSeed;
    while (end_ + sizeof(Header) <= volume_.size()) {
        if (const Error error = load(end_, sizeof(Header)); error != Error::none) return error;
        Header header;
        std::memcpy(&header, &window_[end_ - window_begin_], sizeof header);
        const std::size_t size = sizeof header + header.key_size + header.value_size;
        if (header.key_size == 0 || header.key_size > kKeyMax || header.value_size > kValueMax ||
            size > volume_.size() - end_) {
            break;
        }
        if (const Error error = load(end_, size); error != Error::none) return error;
        const auto record = std::span(window_).subspan(end_ - window_begin_, size);
        if (checksum_of(checksum_, record) != header.checksum) break;
        values_[text(record.subspan(sizeof header, header.key_size))] =
            text(record.subspan(sizeof header + header.key_size));
        checksum_ = header.checksum;
        end_ += size;
    }
    return Error::none;
}

Error KeyValueLog::append(std::string_view key, std::string_view value) {
    if (key.empty() || key.size() > kKeyMax || value.size() > kValueMax) {
        return Error::invalid_argument;
    }
    Header header{0, static_cast<std::uint32_t>(key.size()),
                  static_cast<std::uint32_t>(value.size())};
    std::vector<std::byte> record(sizeof header + key.size() + value.size());
    if (record.size() > volume_.size() - end_) return Error::no_space;
    std::memcpy(record.data(), &header, sizeof header);
    std::memcpy(&record[sizeof header], key.data(), key.size());
    std::copy_n(reinterpret_cast<const std::byte*>(value.data()), value.size(),
                record.begin() + static_cast<std::ptrdiff_t>(sizeof header + key.size()));
    header.checksum = checksum_of(checksum_, record);
    std::memcpy(record.data(), &header.checksum, sizeof header.checksum);
    const Error error = volume_.write(end_, record, libgemel::Durability::durable);
    if (error != Error::none) return error;
    end_ += record.size();
    checksum_ = header.checksum;
    values_[std::string(key)] = value;
    return Error::none;
}

const std::string* KeyValueLog::find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
}

}  // namespace examples
