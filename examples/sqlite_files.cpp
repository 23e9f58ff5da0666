// SPDX-License-Identifier: Apache-2.0
#include "examples/checksum.hpp"
#include "examples/sqlite_vfs.hpp"
#include <cstring>

namespace examples {

using libgemel::Error;

std::uint64_t DatabaseFiles::checksum_of(const Header& header) {
    return checksum(kMagic, std::as_bytes(std::span(&header, 1)).subspan(sizeof header.checksum));
}

Error DatabaseFiles::open() {
    header_ = Header{0, kMagic, 0, {}};
    header_changed_ = false;
    for (std::uint64_t slot = 0; slot < 2; ++slot) {
        Header found;
        const Error error =
            volume_.read(slot * kBlock, std::as_writable_bytes(std::span(&found, 1)));
        if (error != Error::none) return error;
        const bool counts = found.magic == kMagic && found.checksum == checksum_of(found);
        if (counts && found.sequence > header_.sequence) header_ = found;
    }
    return Error::none;
}

std::uint64_t DatabaseFiles::begin_of(File file) const {
    return file == database ? 2 * kBlock : volume_.size() / 2 / kBlock * kBlock;
}

std::uint64_t DatabaseFiles::capacity(File file) const {
    return (file == database ? begin_of(journal) : volume_.size()) - begin_of(file);
}

// Into the slot of the older one, so that a torn write leaves the newer one.
Error DatabaseFiles::write_header() {
    Header next = header_;
    ++next.sequence;
    next.checksum = checksum_of(next);
    std::array<std::byte, kBlock> block{};
    std::memcpy(block.data(), &next, sizeof next);
    const Error error =
        volume_.write(next.sequence % 2 * kBlock, block, libgemel::Durability::durable);
    if (error != Error::none) return error;
    header_ = next;
    header_changed_ = false;
    return Error::none;
}

void DatabaseFiles::create(File file) {
    if (exists(file)) return;
    header_.files[file] = {1, 0};
    header_changed_ = true;
}

Error DatabaseFiles::read(File file, std::uint64_t offset, std::span<std::byte> data) {
    return volume_.read(begin_of(file) + offset, data);
}

Error DatabaseFiles::write(File file, std::uint64_t offset, std::span<const std::byte> data) {
    const std::uint64_t end = offset + data.size();
    if (offset > size(file)) {
        const Error error = volume_.zero(begin_of(file) + size(file), offset - size(file));
        if (error != Error::none) return error;
    }
    const Error error = volume_.write(begin_of(file) + offset, data);
    if (error != Error::none || end <= size(file)) return error;
    header_.files[file].size = end;
    header_changed_ = true;
    return Error::none;
}

Error DatabaseFiles::truncate(File file, std::uint64_t size) {
    if (size >= this->size(file)) return Error::none;
    header_.files[file].size = size;
    return write_header();
}

// The data first: a header that survives a crash never speaks of data that did not.
Error DatabaseFiles::sync() {
    if (const Error error = volume_.flush(); error != Error::none) return error;
    return header_changed_ ? write_header() : Error::none;
}

Error DatabaseFiles::remove(File file) {
    if (!exists(file)) return Error::none;
    header_.files[file] = {0, 0};
    return write_header();
}

}  // namespace examples
