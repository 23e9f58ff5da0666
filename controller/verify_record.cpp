// SPDX-License-Identifier: Apache-2.0
#include "controller/verify_record.hpp"

#include "engine/base/bytes.hpp"
#include "engine/base/checksum.hpp"
#include "engine/io/whole_transfer.hpp"

#include <fcntl.h>

namespace gemel {

namespace {

constexpr std::uint64_t kMagic = 0x31726576'6C6D6567;  // "gemlver1"
constexpr const char* kName = "verify";
constexpr const char* kNewName = "verify.new";
constexpr std::size_t kSizeMax = 4096;
constexpr std::size_t kTextMax = 1024;

ByteBuffer encode(const VerifyRecord& record) {
    ByteBuffer image;
    ByteWriter out(image);
    out.put(kMagic);
    out.put(record.counted_from);
    out.put(static_cast<std::uint8_t>(record.last.has_value()));
    if (record.last) {
        const VerifyResult& last = *record.last;
        out.put(last.began);
        out.put(last.ended);
        out.put(last.outcome);
        out.put(static_cast<std::uint8_t>(last.scheduled));
        out.put(last.objects);
        out.put(last.bytes);
        out.put(last.differing);
        out.put(last.mended);
        out.sized(std::string_view(last.why).substr(0, kTextMax));
    }
    out.put(checksum64(image));
    return image;
}

VerifyRecord decode(ByteReader& in) {
    VerifyRecord record;
    record.counted_from = in.wall_time();
    if (in.get<std::uint8_t>() == 0) return record;
    VerifyResult last;
    last.began = in.wall_time();
    last.ended = in.wall_time();
    last.outcome = in.get<VerifyOutcome>();
    last.scheduled = in.get<std::uint8_t>() != 0;
    last.objects = in.get<std::uint64_t>();
    last.bytes = in.get<std::uint64_t>();
    last.differing = in.get<std::uint64_t>();
    last.mended = in.get<std::uint64_t>();
    last.why = as_text(in.sized(kTextMax));
    if (last.outcome > VerifyOutcome::failed) in.fail();
    record.last = std::move(last);
    return record;
}

}  // namespace

std::optional<VerifyRecord> read_verify_record(Vfs& vfs, Fd directory) noexcept {
    const Result<Fd> opened = vfs.open_at(directory, kName, O_RDONLY, 0);
    if (!opened.ok()) return std::nullopt;
    const ScopedFd file(vfs, opened.value());
    ByteBuffer image(kSizeMax);
    const Result<std::size_t> size = read_fully(vfs, file.get(), image, 0);
    if (!size.ok()) return std::nullopt;
    image.resize(size.value());
    ByteReader in(image);
    if (in.get<std::uint64_t>() != kMagic) return std::nullopt;
    VerifyRecord record = decode(in);
    const std::size_t checked = image.size() - in.remaining();
    const auto checksum = in.get<std::uint64_t>();
    if (!in.at_end() || checksum != checksum64(Bytes(image).first(checked))) return std::nullopt;
    return record;
}

Status write_verify_record(Vfs& vfs, Fd directory, const VerifyRecord& record) noexcept {
    const Result<Fd> opened = vfs.open_at(directory, kNewName, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!opened.ok()) return opened.status();
    const ScopedFd file(vfs, opened.value());
    GEMEL_TRY(write_fully(vfs, file.get(), encode(record), 0));
    GEMEL_TRY(vfs.sync(file.get(), false));
    GEMEL_TRY(vfs.rename(directory, kNewName, directory, kName, 0));
    return vfs.sync(directory, false);
}

}  // namespace gemel
