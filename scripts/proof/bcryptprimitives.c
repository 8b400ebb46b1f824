/* Stands in for Windows' bcryptprimitives.dll, which Wine 8 does not have and Rust's standard
 * library asks for random bytes. RtlGenRandom gives them too; in advapi32 its name is
 * SystemFunction036. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    for (ULONG part; length > 0; buffer += part, length -= part) {
        part = length < 0x10000 ? (ULONG)length : 0x10000;
        if (!SystemFunction036(buffer, part)) return FALSE;
    }
    return TRUE;
}
