// SPDX-License-Identifier: Apache-2.0
#include "ebpf/tracker_points.hpp"

#include "ebpf/tracker_api.bpf.h"

#include <algorithm>
#include <array>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <memory>

namespace gemel {

namespace {

constexpr std::string_view kTracepointType = "btf_trace_";

// Points that came later than the feature whose changes they show: without them there are none.
constexpr std::array<std::string_view, 2> kOptional = {"xfs_exchrange_before",
                                                       "xfs_swap_extent_before"};

// The kinds of file system that need a program, by its name: bit `kind`.
std::uint32_t kinds_of(std::string_view program) noexcept {
    if (program.starts_with("ext4_") || program.starts_with("block_")) return 1U << TRACKER_EXT4;
    if (program.starts_with("xfs_")) return 1U << TRACKER_XFS;
    if (program.starts_with("btrfs_")) return 1U << TRACKER_BTRFS;
    return 1U << TRACKER_EXT4 | 1U << TRACKER_XFS | 1U << TRACKER_BTRFS;
}

using Btf = std::unique_ptr<btf, void (*)(btf*)>;

}  // namespace

// What is looked for in one set of types.
struct TrackerPoints::Types {
    TrackerPoints& points;

    void read(const btf& types, std::uint32_t first) const noexcept {
        for (std::uint32_t id = first; id < btf__type_cnt(&types); ++id) {
            const btf_type* type = btf__type_by_id(&types, id);
            if (btf_is_typedef(type)) {
                const std::string_view name = btf__name_by_offset(&types, type->name_off);
                if (name.starts_with(kTracepointType)) {
                    points.points_.emplace_back(name.substr(kTracepointType.size()));
                }
            } else if (btf_is_enum(type)) {
                read_values(types, *type);
            }
        }
    }

    void read_values(const btf& types, const btf_type& type) const noexcept {
        const struct btf_enum* values = btf_enum(&type);
        for (std::uint16_t i = 0; i < btf_vlen(&type); ++i) {
            const std::string_view name = btf__name_by_offset(&types, values[i].name_off);
            const auto value = static_cast<std::uint32_t>(values[i].val);
            if (name == "EXTENT_DELALLOC") points.delalloc_bit_ = value;
            if (name == "PG_head") points.head_bit_ = value;
        }
    }
};

Result<TrackerPoints> TrackerPoints::probe(std::string& why) noexcept {
    const Btf kernel(btf__load_vmlinux_btf(), btf__free);
    if (libbpf_get_error(kernel.get()) != 0) {
        why = "the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)";
        return Status(Code::unsupported);
    }
    TrackerPoints points;
    const Types reader{points};
    reader.read(*kernel, 1);
    for (const char* module : {"ext4", "xfs", "btrfs"}) {
        const Btf types(btf__load_module_btf(module, kernel.get()), btf__free);
        // A part of the kernel, or not loaded: then nothing of it is mounted.
        if (libbpf_get_error(types.get()) != 0) continue;
        reader.read(*types, btf__type_cnt(kernel.get()));
    }
    std::sort(points.points_.begin(), points.points_.end());
    return points;
}

void TrackerPoints::select(bpf_object& object, const std::vector<std::string>& without) noexcept {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, &object) {
        const std::string name = bpf_program__name(program);
        const bool is_there = std::binary_search(points_.begin(), points_.end(), name);
        const bool is_unwanted = std::find(without.begin(), without.end(), name) != without.end();
        bpf_program__set_autoload(program, is_there && !is_unwanted);
        if (is_there || std::find(kOptional.begin(), kOptional.end(), name) != kOptional.end()) {
            continue;
        }
        for (std::uint32_t kind = 1; kind < missing_.size(); ++kind) {
            if ((kinds_of(name) & (1U << kind)) != 0 && missing_[kind].empty()) {
                missing_[kind] = "this kernel has no tracepoint " + name;
            }
        }
    }
    if (delalloc_bit_ == 0 && missing_[TRACKER_BTRFS].empty()) {
        missing_[TRACKER_BTRFS] = "this kernel does not describe Btrfs";
    }
}

}  // namespace gemel
