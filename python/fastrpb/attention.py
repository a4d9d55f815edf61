"""Attention with relative positions. Tensors are [batch, heads, tokens, features]; on a grid [H, W], token n stands at row n // W, column n % W.

    out_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j)  +  Σ_j w[j − i + N − 1] v_j

The first sum is linear attention (Katharopoulos et al. 2020), O(N); the second FastRPB (Zubkov and Gavrilov, arXiv 2202.11364), O(N log N).
"""

import functools
import math

import torch
from torch.nn import functional

CHUNK = 64  # tokens that causal sums take at once


def attention(options, q, k, v, weights=None, lengths=None):
    """Attention by the options of a model's description (see transformer.py).

    `sizes` of the options are the numbers of tokens along the axes: [N] or [H, W], without those outside. `weights` are those of the bias. Of
    `lengths` there is one for each batch row: what lies beyond has no influence, and zeros as output.
    """
    sizes, causal, bias = options["sizes"], options.get("causal", False), options.get("bias", "none")
    seen = None
    if lengths is not None:
        seen = (torch.arange(q.shape[-2], device=q.device) < lengths[:, None])[:, None, :, None]
        v = v * seen
    table = None if bias == "none" else full_table(weights, sizes, **bias_form(options))
    pairs = by_pairs(table, sizes) if bias in ("logits", "multiplicative") else None
    feature_map, nu = options.get("featureMap"), options.get("nu", 1)
    if feature_map == "favor+":
        q, k = random_features(q, k, options.get("scale"), **options.get("randomFeatures", {}))
        feature_map = "sikf"
    if options.get("kind", "linear") == "softmax":
        out = softmax_attention(q, k, v, causal, options.get("scale"), options.get("window"), pairs, seen)
    elif bias == "multiplicative":
        out = multiplicative_attention(q, k, v, feature_map, pairs, causal, nu, seen)
    else:
        out = linear_attention(q, k, v, feature_map, causal, nu, seen)
    if bias == "fastrpb":
        first, last = (options.get("outside", {}).get(end, 0) for end in ("first", "last"))
        inner = v[:, :, first : v.shape[-2] - last].unflatten(-2, sizes)
        out = out + functional.pad(toeplitz(table, inner, causal).flatten(2, -2), (0, 0, first, last))
    return out if seen is None else out * seen


def linear_attention(q, k, v, feature_map, causal=False, nu=1, seen=None):
    """The first sum, over all j or those ≤ i. `"softmax"` is Efficient Attention: softmax over the features of q and over the tokens of k."""
    if feature_map in ("sikf", "softmax"):
        if seen is not None and not causal:  # causal queries that count see no other keys
            k = k.masked_fill(~seen, -math.inf)
        # Of SIKF, φ = exp. With L_d = log Σ_j exp(k_jd), the quotient is Σ_d softmax_d(q_i + L)_d Σ_j exp(k_jd − L_d) v_j: nothing overflows,
        # and nothing is divided by zero. Without L in the first softmax that is Efficient Attention.
        total = k.logcumsumexp(dim=-2) if causal else k.logsumexp(dim=-2, keepdim=True)
        shares = (q + total if feature_map == "sikf" else q).softmax(dim=-1)
        return causal_exponential_sums(shares, k, total, v) if causal else shares @ (k.softmax(dim=-2).transpose(-1, -2) @ v)
    q, k = features(feature_map, q, nu), features(feature_map, k, nu)
    if seen is not None:
        k = k * seen
    if causal:
        sums = causal_sums(q, k, functional.pad(v, (0, 1), value=1.0))
        return quotient(sums[..., :-1], sums[..., -1:])
    return quotient(q @ (k.transpose(-1, -2) @ v), (q * k.sum(dim=-2, keepdim=True)).sum(dim=-1, keepdim=True))


def features(feature_map, x, nu=1):
    if feature_map == "elu+1":
        return functional.elu(x) + 1
    if feature_map == "relu":
        return x.relu()
    if feature_map == "dpfp":  # Schlag et al. 2021
        parts = torch.cat([x.relu(), (-x).relu()], dim=-1)
        return torch.cat([parts * parts.roll(shift, dims=-1) for shift in range(1, nu + 1)], dim=-1)
    raise ValueError(f"{feature_map!r} is no feature map of this sum")


def random_features(q, k, scale=None, count=None, seed=0):
    """Queries and keys whose exponentials are the features of the Performer (Choromanski et al. 2020): SIKF of them is "favor+".

    φ(x)_r = exp(w_r·x′ − |x′|²/2) with x′ = √scale·x; of queries, |x′|² is the same in all features and cancels.
    """
    dim = q.shape[-1]
    root = math.sqrt(scale_of(scale, dim))
    w = orthogonal_features(count or max(dim, math.ceil(dim * math.log(dim))), dim, seed).to(q).T
    q, k = root * q, root * k
    return q @ w, k @ w - k.square().sum(dim=-1, keepdim=True) / 2


@functools.lru_cache(maxsize=16)
def orthogonal_features(count, dim, seed):
    """[count, dim], in blocks of orthogonal rows with the lengths of Gaussian vectors, drawn as the library draws them: Box–Muller on mulberry32."""
    uniform = mulberry32(seed)

    def normals(size):
        # Not by a tensor's functions: last digits are those of the library's.
        draws = (math.sqrt(-2 * math.log(1 - next(uniform))) * math.cos(2 * math.pi * next(uniform)) for _ in range(size))
        return torch.tensor(list(draws), dtype=torch.float64)

    rows = []
    while len(rows) < count:
        block = normals(dim * dim).reshape(dim, dim)
        for r in range(dim):  # modified Gram–Schmidt, twice
            for before in 2 * list(range(r)):
                block[r] -= (block[r] @ block[before]) * block[before]
            block[r] /= block[r].norm()
        rows.extend(normals(dim).norm() * row for row in block[: count - len(rows)])
    return torch.stack(rows)


def mulberry32(seed):
    """Uniform numbers in [0, 1)."""
    mask = 0xFFFFFFFF
    while True:
        seed = (seed + 0x6D2B79F5) & mask
        mixed = ((seed ^ (seed >> 15)) * (seed | 1)) & mask
        mixed ^= (mixed + (mixed ^ (mixed >> 7)) * (mixed | 61)) & mask
        yield (mixed ^ (mixed >> 14)) / 2**32


def quotient(numerator, denominator):
    """0 where the denominator is: a query that shares no feature with any key."""
    nothing = denominator == 0
    return (numerator / denominator.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)


def causal_sums(q, k, v):
    """Σ_{j ≤ i} (q_i·k_j) v_j, in chunks: pairs within a chunk, and a state, the sum of k_j v_jᵀ, of the tokens before it."""
    state, rows = 0.0, []
    for q, k, v in zip(*(x.split(CHUNK, dim=-2) for x in (q, k, v))):
        rows.append((q @ k.transpose(-1, -2)).tril() @ v + (q @ state if rows else 0.0))
        state = state + k.transpose(-1, -2) @ v
    return torch.cat(rows, dim=-2)


def causal_exponential_sums(shares, k, total, v):
    """Σ_d shares_id Σ_{j ≤ i} exp(k_jd − total_id) v_j: as causal_sums, with exponentials relative to the largest key up to the end of the chunk.

    In float32, keys of a chunk may lie below a later one there by 79; what is farther below counts too little.
    """
    state, top, rows = 0.0, None, []
    most = 0.9 * math.log(torch.finfo(k.dtype).max)
    for share, k, total, v in zip(*(x.split(CHUNK, dim=-2) for x in (shares, k, total, v))):
        before, top = top, k.detach().amax(dim=-2, keepdim=True)
        if rows:
            top = torch.maximum(before, top)
            state = state * (before - top).exp().transpose(-1, -2)
        q, k = share * (top - total).clamp(max=most).exp(), (k - top).exp()
        rows.append((q @ k.transpose(-1, -2)).tril() @ v + (q @ state if rows else 0.0))
        state = state + k.transpose(-1, -2) @ v
    return torch.cat(rows, dim=-2)


def softmax_attention(q, k, v, causal=False, scale=None, window=None, pairs=None, seen=None):
    """softmax_j(scale·q_i·k_j + pairs_ij) v_j; with a window w, |i − j| < w. A query that sees no key gets zeros."""
    logits = scale_of(scale, q.shape[-1]) * q @ k.transpose(-1, -2)
    if pairs is not None:
        logits = logits + pairs
    if causal or window is not None or seen is not None:
        places = torch.arange(q.shape[-2], device=q.device)
        after = places - places[:, None]  # j − i
        hidden = (after > 0 if causal else torch.zeros_like(after, dtype=torch.bool)) | (after.abs() >= (window or len(places)))
        logits = logits.masked_fill(hidden if seen is None else hidden | ~seen.transpose(-1, -2), -math.inf)
    if pairs is None and seen is None:
        return logits.softmax(dim=-1) @ v
    nothing = (logits == -math.inf).all(dim=-1, keepdim=True)
    return logits.masked_fill(nothing, 0.0).softmax(dim=-1).masked_fill(nothing, 0.0) @ v


def scale_of(scale, dim):
    """A float32, by default the one next to 1/√D."""
    return torch.tensor(dim**-0.5 if scale is None else scale, dtype=torch.float32).item()


def multiplicative_attention(q, k, v, feature_map, pairs, causal=False, nu=1, seen=None):
    """Linear attention with a factor exp(pairs_ij) on every term of both sums (Luo et al. 2021). From all pairs, O(N²): plain, not fast."""
    if feature_map == "sikf":
        top = k.detach().amax(dim=-2, keepdim=True)
        q = q + top
        q, k = (q - q.detach().amax(dim=-1, keepdim=True)).exp(), (k - top).exp()
    else:
        q, k = features(feature_map, q, nu), features(feature_map, k, nu)
    products = q @ k.transpose(-1, -2) * (pairs - pairs.detach().amax(dim=-1, keepdim=True)).exp()
    if causal:
        products = products.tril()
    if seen is not None:
        products = products * seen.transpose(-1, -2)
    return quotient(products @ v, products.sum(dim=-1, keepdim=True))


def toeplitz(table, v, causal=False):
    """FastRPB: Σ_j w[j − i + N − 1] v_j; on a grid Σ_j w[y_j − y_i + H − 1, x_j − x_i + W − 1] v_j. Causal: offsets j − i > 0 count as zero.

    table: [heads, 2N − 1] or [heads, 2H − 1, 2W − 1]; v: [batch, heads, N, channels] or [batch, heads, H, W, channels].
    """
    sizes = v.shape[2:-1]
    if causal:
        table = torch.cat([table[:, : sizes[0]], torch.zeros_like(table[:, sizes[0] :])], dim=-1)
    axes, doubled = list(range(2, v.dim() - 1)), [2 * size for size in sizes]
    # Offset o stands at o modulo 2N, and the sum over j is a correlation of length 2N.
    circular = torch.fft.ifftshift(functional.pad(table, (1, 0) * len(sizes)), dim=list(range(1, table.dim())))
    spectrum = torch.fft.rfftn(circular, dim=list(range(1, table.dim()))).conj().unsqueeze(-1)
    product = torch.fft.irfftn(torch.fft.rfftn(v, s=doubled, dim=axes) * spectrum, s=doubled, dim=axes)
    return product[(..., *(slice(size) for size in sizes), slice(None))]


def bias_form(options):
    """The form of the weights of a bias, for table_shape and full_table."""
    reach = options.get("biasLength")
    reach = [reach] if isinstance(reach, int) else reach
    return {"form": options.get("biasForm", "full"), "shared": options.get("biasShared", False), "reach": reach}


def table_shape(sizes, form="full", shared=False, reach=None):
    """The shape of a head's weights, by `biasForm`, `biasShared` and `biasLength` (here `reach`, by axes) of the library."""
    reach = reach or sizes
    if len(reach) != len(sizes) or any(most < size for most, size in zip(reach, sizes)):
        raise ValueError(f"biasLength is at least the positions {list(sizes)}; got {reach}")
    if form in ("separable", "separable-symmetric", "manhattan") and (len(sizes) != 2 or (shared and reach[0] != reach[1])):
        raise ValueError(f"biasForm {form!r} takes a grid, a square one with biasShared; got {list(sizes)}")
    if form == "manhattan":
        return [sum(reach) - 1]
    counts = [size if form.endswith("symmetric") else 2 * size - 1 for size in reach]
    if not form.startswith("separable"):
        return counts
    return [counts[0]] if shared else [sum(counts)]


def full_table(weights, sizes, form="full", shared=False, reach=None):
    """A weight for each offset, [heads, 2N − 1] or [heads, 2H − 1, 2W − 1], from weights in any form."""
    reach = reach or sizes
    symmetric = form.endswith("symmetric")
    if form == "manhattan":  # by |dy| + |dx|
        weights = weights[:, sum(torch.meshgrid(*(torch.arange(1 - size, size, device=weights.device).abs() for size in reach), indexing="ij"))]
    elif form.startswith("separable"):
        rows, columns = (weights, weights) if shared else weights.split([size if symmetric else 2 * size - 1 for size in reach], dim=-1)
        if symmetric:
            rows, columns = mirror(rows, -1), mirror(columns, -1)
        weights = rows.unsqueeze(-1) + columns.unsqueeze(-2)
    elif symmetric:
        for axis in range(1, weights.dim()):
            weights = mirror(weights, axis)
    for axis, (size, most) in enumerate(zip(sizes, reach), 1):  # the middle of what reaches farther
        weights = weights.narrow(axis, most - size, 2 * size - 1)
    return weights


def mirror(weights, axis):
    return torch.cat([weights.narrow(axis, 1, weights.shape[axis] - 1).flip(axis), weights], dim=axis)


def by_pairs(table, sizes):
    """W_ij, [heads, N, N], from a weight for each offset."""
    places = torch.stack(torch.meshgrid(*(torch.arange(size, device=table.device) for size in sizes), indexing="ij"), dim=-1).flatten(0, -2)
    offsets = places - places[:, None] + places[-1]
    return table[(slice(None), *offsets.unbind(-1))]
