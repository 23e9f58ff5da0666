// SPDX-License-Identifier: Apache-2.0
// An Export that only says what it is, for what is tested without I/O.
#pragma once

#include "frontends/nbd/export.hpp"

#include <string>

namespace gemel::test {

struct FixedExport final : Export {
    explicit FixedExport(std::string its_name) : own_name(std::move(its_name)) {}

    std::string own_name, own_description = "described", reason;
    std::uint64_t own_size = 1 << 20;
    ExportLimits own_limits;
    bool read_only = false, dirty_context = true;

    [[nodiscard]] std::string name() const override { return own_name; }
    [[nodiscard]] std::string description() const override { return own_description; }
    [[nodiscard]] std::uint64_t size() const noexcept override { return own_size; }
    [[nodiscard]] ExportLimits limits() const noexcept override { return own_limits; }
    [[nodiscard]] bool is_read_only() const noexcept override { return read_only; }
    [[nodiscard]] std::string refusal() const override { return reason; }
    [[nodiscard]] bool has_dirty_context() const noexcept override { return dirty_context; }
    void submit(ExportRequest&) noexcept override { GEMEL_ASSERT(false); }
    void set_events(ExportEvents*) noexcept override {}
};

}  // namespace gemel::test
