// The extension module: picks the instruction set and binds the solvers.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "bindings.hpp"
#include "cpu.hpp"

namespace recsys {

InstructionSet chosen;

namespace {

#define RECSYS_SET(name, isa)                                                             \
    {                                                                                     \
        name, isa::search_block, isa::select_block, isa::scan_all, isa::als_block, isa::als_exact_block, \
            isa::sgd_mf_plain, isa::sgd_mf_momentum, isa::sgd_mf_adagrad, isa::bpr_range, \
            isa::fm_rank_range, isa::fm_rank_items, isa::fm_stream_range, isa::fm_stream_add, isa::fm_solve_range, \
            isa::fm_sgd_range, isa::fm_fields_range \
    }

// Best first; the last one runs everywhere.
std::vector<InstructionSet> supported_sets() {
    std::vector<InstructionSet> sets;
#ifdef RECSYS_X86
    if (has_x86_64_v4()) sets.push_back(RECSYS_SET("x86-64-v4", v4));
    if (has_x86_64_v3()) sets.push_back(RECSYS_SET("x86-64-v3", v3));
#endif
    sets.push_back(RECSYS_SET("base", base));
    return sets;
}

const std::vector<InstructionSet> supported = supported_sets();

// RECSYS_INSTRUCTION_SET lowers the choice, for tests and for comparing machines.
InstructionSet chosen_set() {
    const char *wanted = std::getenv("RECSYS_INSTRUCTION_SET");
    if (!wanted || !*wanted) return supported.front();
    for (const auto &set : supported)
        if (wanted == std::string(set.name)) return set;
    std::string names;
    for (const auto &set : supported) names += names.empty() ? set.name : std::string(", ") + set.name;
    throw std::runtime_error("RECSYS_INSTRUCTION_SET=" + std::string(wanted) + " is not supported here; choose from " + names);
}

}  // namespace
}  // namespace recsys

NB_MODULE(_kernels, m) {
    using namespace recsys;
    chosen = chosen_set();
    m.doc() = "Compiled kernels; each has a readable numpy twin in recsys.kernels.reference.";
    m.def("instruction_set", [] { return std::string(chosen.name); }, "Name of the instruction set in use.");
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const auto &set : supported) names.emplace_back(set.name);
        return names;
    }, "Names of the instruction sets this machine supports, best first.");
    bind_topk(m);
    bind_scan(m);
    bind_als(m);
    bind_sgd_mf(m);
    bind_bpr(m);
    bind_fm_rank(m);
    bind_fm_sweep(m);
    bind_fm_sgd(m);
}
