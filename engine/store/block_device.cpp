// SPDX-License-Identifier: Apache-2.0
// Facts of a device come from sysfs, as ordinary files, so that a simulated machine can have them
// too. What a kernel does not say there (a partition's UUID, before 6.13) udev has made links of.
#include "engine/store/block_device.hpp"

#include "engine/base/bytes.hpp"
#include "engine/io/whole_transfer.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <sys/sysmacros.h>

namespace gemel {

namespace {

constexpr std::size_t kAttributeSizeMax = 4096;
constexpr std::size_t kLinksMax = 4096;

std::string_view trimmed(std::string_view text) noexcept {
    constexpr std::string_view kSpace(" \t\r\n\0", 5);
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == text.npos) return {};
    return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// A file below a directory of sysfs; empty: there is none.
std::string attribute(Vfs& vfs, const std::string& directory, std::string_view name) noexcept {
    const Result<Fd> opened = vfs.open_directory(directory);
    if (!opened.ok()) return {};
    const ScopedFd parent(vfs, opened.value());
    const Result<Fd> file = vfs.open_at(parent.get(), name, O_RDONLY, 0);
    if (!file.ok()) return {};
    const ScopedFd scoped(vfs, file.value());
    ByteBuffer bytes(kAttributeSizeMax);
    const Result<std::size_t> size = read_fully(vfs, file.value(), bytes, 0);
    if (!size.ok()) return {};
    return std::string(trimmed(as_text(Bytes(bytes).first(size.value()))));
}

std::uint64_t number(const std::string& text) noexcept {
    std::uint64_t value = 0;
    (void)std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// A line KEY=value of a file "uevent".
std::string variable(const std::string& text, std::string_view key) {
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line(text.data() + begin, end - begin);
        if (line.starts_with(key) && line.substr(key.size()).starts_with('=')) {
            return std::string(trimmed(line.substr(key.size() + 1)));
        }
        begin = end + 1;
    }
    return {};
}

// The name of udev's link to the kernel's device `device`.
std::string link_to(Vfs& vfs, const std::string& directory, std::string_view device) noexcept {
    const Result<Fd> opened = vfs.open_directory(directory);
    if (!opened.ok() || device.empty()) return {};
    const ScopedFd parent(vfs, opened.value());
    std::vector<DirectoryEntry> links;
    if (!vfs.read_directory(parent.get(), 0, kLinksMax, links).ok()) return {};
    for (const DirectoryEntry& link : links) {
        const Result<Fd> file = vfs.open_at(parent.get(), link.name, O_PATH, 0);
        if (!file.ok()) continue;
        const ScopedFd scoped(vfs, file.value());
        const Result<ByteBuffer> target = vfs.read_link(file.value());
        if (!target.ok()) continue;
        const std::string_view path = as_text(target.value());
        if (path.substr(path.rfind('/') + 1) == device) return link.name;
    }
    return {};
}

void add_name(BlockDevice& device, const char* kind, std::string value) {
    if (!value.empty()) device.names.insert_or_assign(kind, std::move(value));
}

}  // namespace

Result<BlockDevice> read_block_device(Vfs& vfs, std::uint64_t special_device) noexcept {
    const std::string own = "/sys/dev/block/" + std::to_string(major(special_device)) + ':' +
                            std::to_string(minor(special_device));
    const std::string partition = attribute(vfs, own, "partition");
    const std::string disk = partition.empty() ? own : own + "/..";
    BlockDevice device;
    device.size = number(attribute(vfs, own, "size")) * 512;  // sectors, whatever the block
    device.logical_block =
        static_cast<std::uint32_t>(number(attribute(vfs, disk + "/queue", "logical_block_size")));
    if (device.logical_block == 0) return Code::not_found;
    device.sequence = number(attribute(vfs, disk, "diskseq"));
    for (const char* kind : {"wwid", "serial"}) {
        std::string value = attribute(vfs, disk, kind);
        if (value.empty()) value = attribute(vfs, disk + "/device", kind);
        if (!value.empty() && !partition.empty()) value += "#" + partition;
        add_name(device, kind, std::move(value));
    }
    add_name(device, "dm", attribute(vfs, own + "/dm", "uuid"));
    add_name(device, "md", attribute(vfs, own + "/md", "uuid"));
    if (partition.empty()) return device;
    const std::string facts = attribute(vfs, own, "uevent");
    std::string uuid = variable(facts, "PARTUUID");
    if (uuid.empty()) uuid = link_to(vfs, "/dev/disk/by-partuuid", variable(facts, "DEVNAME"));
    add_name(device, "partuuid", std::move(uuid));
    return device;
}

}  // namespace gemel
