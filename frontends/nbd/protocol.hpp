// SPDX-License-Identifier: Apache-2.0
// Numbers of the NBD protocol, by the names of its document without their prefixes:
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, and for extended headers the
// same file of its branch extension-ext-header. Everything on the wire is big-endian (wire.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gemel::nbd {

inline constexpr std::uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454F5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedReplyMagic = 0x6e8a278c;

// Handshake flags, and the client's answer to them (same bits).
inline constexpr std::uint16_t kFixedNewstyle = 1;
inline constexpr std::uint16_t kNoZeroes = 2;

enum class Option : std::uint32_t {
    export_name = 1,
    abort = 2,
    list = 3,
    starttls = 5,
    info = 6,
    go = 7,
    structured_reply = 8,
    list_meta_context = 9,
    set_meta_context = 10,
    extended_headers = 11,
};

inline constexpr std::uint32_t kErrorBit = std::uint32_t{1} << 31;
enum class OptionReply : std::uint32_t {
    ack = 1,
    server = 2,
    info = 3,
    meta_context = 4,
    unsupported = kErrorBit + 1,
    policy = kErrorBit + 2,
    invalid = kErrorBit + 3,
    unknown = kErrorBit + 6,
    too_big = kErrorBit + 9,
    extended_headers_required = kErrorBit + 10,
};

enum class Info : std::uint16_t { exported = 0, name = 1, description = 2, block_size = 3 };

enum TransmissionFlags : std::uint16_t {
    kHasFlags = 1 << 0,
    kReadOnly = 1 << 1,
    kSendFlush = 1 << 2,
    kSendFua = 1 << 3,
    kSendTrim = 1 << 5,
    kSendWriteZeroes = 1 << 6,
    kSendDf = 1 << 7,
    kCanMultiConn = 1 << 8,
    kSendCache = 1 << 10,
    kSendFastZero = 1 << 11,
    kBlockStatusPayload = 1 << 12,
};

enum class Command : std::uint16_t {
    read = 0,
    write = 1,
    disconnect = 2,
    flush = 3,
    trim = 4,
    cache = 5,
    write_zeroes = 6,
    block_status = 7,
};

enum CommandFlags : std::uint16_t {
    kFua = 1 << 0,
    kNoHole = 1 << 1,
    kDontFragment = 1 << 2,
    kReqOne = 1 << 3,
    kFastZero = 1 << 4,
    kPayloadLength = 1 << 5,
};

inline constexpr std::uint16_t kReplyDone = 1;
enum class Chunk : std::uint16_t {
    none = 0,
    offset_data = 1,
    offset_hole = 2,
    block_status = 5,
    block_status_extended = 6,
    error = (1 << 15) + 1,
    error_offset = (1 << 15) + 2,
};

enum class Error : std::uint32_t {
    none = 0,
    not_permitted = 1,
    io = 5,
    no_memory = 12,
    invalid = 22,
    no_space = 28,
    overflow = 75,
    not_supported = 95,
};

inline constexpr std::size_t kClientFlagsSize = 4;
inline constexpr std::size_t kOptionHeaderSize = 16;
inline constexpr std::size_t kRequestHeaderSize = 28;
inline constexpr std::size_t kExtendedRequestHeaderSize = 32;
inline constexpr std::size_t kStringMax = 4096;
// A payload up to this is never an attack, whatever an export's own limit is.
inline constexpr std::uint32_t kPayloadAlwaysTaken = 1 << 25;

}  // namespace gemel::nbd
