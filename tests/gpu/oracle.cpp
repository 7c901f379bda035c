// NVIDIA's own conversions, as C functions: what its headers compute where there is no device.
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace
{
unsigned short bits_of(__half h)
{
    return static_cast<__half_raw>(h).x;
}
unsigned short bits_of(__nv_bfloat16 h)
{
    return static_cast<__nv_bfloat16_raw>(h).x;
}
__half half_of(unsigned short bits)
{
    __half_raw raw;
    raw.x = bits;
    return raw;
}
__nv_bfloat16 bfloat_of(unsigned short bits)
{
    __nv_bfloat16_raw raw;
    raw.x = bits;
    return raw;
}
} // namespace

extern "C" {
float oracle_from_f16(unsigned short bits)
{
    return __half2float(half_of(bits));
}
float oracle_from_bf16(unsigned short bits)
{
    return __bfloat162float(bfloat_of(bits));
}
// Bits of f16.
unsigned short oracle_from_e4m3(unsigned char bits)
{
    return __nv_cvt_fp8_to_halfraw(bits, __NV_E4M3).x;
}
unsigned short oracle_from_e5m2(unsigned char bits)
{
    return __nv_cvt_fp8_to_halfraw(bits, __NV_E5M2).x;
}

// mode: 'n', 'z', 'm' or 'p', the last letter of PTX's modifier.
unsigned short oracle_to_f16(float x, char mode)
{
    return bits_of(mode == 'z'   ? __float2half_rz(x)
                   : mode == 'm' ? __float2half_rd(x)
                   : mode == 'p' ? __float2half_ru(x)
                                 : __float2half_rn(x));
}
unsigned short oracle_to_bf16(float x, char mode)
{
    return bits_of(mode == 'z'   ? __float2bfloat16_rz(x)
                   : mode == 'm' ? __float2bfloat16_rd(x)
                   : mode == 'p' ? __float2bfloat16_ru(x)
                                 : __float2bfloat16_rn(x));
}
unsigned short oracle_double_to_f16(double x)
{
    return bits_of(__double2half(x));
}
unsigned short oracle_double_to_bf16(double x)
{
    return bits_of(__double2bfloat16(x));
}
unsigned char oracle_to_e4m3(float x)
{
    return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}
unsigned char oracle_to_e5m2(float x)
{
    return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2);
}
unsigned char oracle_half_to_e4m3(unsigned short bits)
{
    return __nv_cvt_halfraw_to_fp8(half_of(bits), __NV_SATFINITE, __NV_E4M3);
}
unsigned char oracle_half_to_e5m2(unsigned short bits)
{
    return __nv_cvt_halfraw_to_fp8(half_of(bits), __NV_SATFINITE, __NV_E5M2);
}
}
