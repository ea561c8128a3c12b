/* A Vulkan layer that lets SAPIEN render on Mesa's software device, and begin sooner.
 *
 * SAPIEN 2 asks for VK_KHR_external_semaphore_fd whenever it creates a device, although it needs it only to share
 * semaphores with CUDA. Mesa's lavapipe does not have the extension, and so refuses. This layer offers the extension
 * (in its manifest) and drops it from the request if the driver lacks it.
 *
 * Before their first picture SAPIEN 2.2.2 and 3.0.3 compute how surfaces reflect an environment, in a table of 1024
 * samples an entry: ten seconds in software. No benchmark has an environment map, so what is read of the table is
 * multiplied by zero. One sample, the first of all, is as finite as all of them: pictures stay the same to the last bit.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

static const char DROPPED_EXTENSION[] = "VK_KHR_external_semaphore_fd";

/* The shader of the table, by the FNV-1a hash of its words, and where in it the number of samples stands. */
static const uint64_t TABLE_SHADER = UINT64_C(0xc6b7fed169f4886c);
static const size_t TABLE_SAMPLES_AT[] = {443, 447};

/* What comes after this layer for one instance or device; objects that belong together share a dispatch key. */
typedef struct Next {
    void *key;
    VkInstance instance;
    PFN_vkGetInstanceProcAddr instance_functions;
    PFN_vkGetDeviceProcAddr device_functions;
    struct Next *following;
} Next;

static Next *known;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static void *dispatch_key(void *handle) { return *(void **)handle; }

/* Finds the entry of a handle, or adds an empty one; NULL only when memory is exhausted. Entries stay for good. */
static Next *entry_of(void *handle) {
    pthread_mutex_lock(&known_lock);
    Next *entry = known;
    while (entry != NULL && entry->key != dispatch_key(handle))
        entry = entry->following;
    if (entry == NULL && (entry = calloc(1, sizeof *entry)) != NULL) {
        entry->key = dispatch_key(handle);
        entry->following = known;
        known = entry;
    }
    pthread_mutex_unlock(&known_lock);
    return entry;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *request,
                                                      const VkAllocationCallbacks *allocator, VkInstance *instance) {
    VkLayerInstanceCreateInfo *chain = (VkLayerInstanceCreateInfo *)request->pNext;
    while (chain != NULL && (chain->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO ||
                             chain->function != VK_LAYER_LINK_INFO))
        chain = (VkLayerInstanceCreateInfo *)chain->pNext;
    if (chain == NULL)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr functions = chain->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)functions(VK_NULL_HANDLE, "vkCreateInstance");
    VkResult result = create(request, allocator, instance);
    if (result != VK_SUCCESS)
        return result;
    Next *next = entry_of(*instance);
    if (next == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    next->instance = *instance;
    next->instance_functions = functions;
    return VK_SUCCESS;
}

static bool driver_has_extension(const Next *next, VkPhysicalDevice device) {
    PFN_vkEnumerateDeviceExtensionProperties enumerate = (PFN_vkEnumerateDeviceExtensionProperties)
        next->instance_functions(next->instance, "vkEnumerateDeviceExtensionProperties");
    uint32_t count = 0;
    if (enumerate(device, NULL, &count, NULL) != VK_SUCCESS)
        return false;
    VkExtensionProperties *extensions = calloc(count + 1, sizeof *extensions);
    bool found = false;
    if (extensions != NULL && enumerate(device, NULL, &count, extensions) == VK_SUCCESS)
        for (uint32_t index = 0; index < count; index++)
            found = found || strcmp(extensions[index].extensionName, DROPPED_EXTENSION) == 0;
    free(extensions);
    return found;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical_device,
                                                    const VkDeviceCreateInfo *request,
                                                    const VkAllocationCallbacks *allocator, VkDevice *device) {
    VkLayerDeviceCreateInfo *chain = (VkLayerDeviceCreateInfo *)request->pNext;
    while (chain != NULL && (chain->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO ||
                             chain->function != VK_LAYER_LINK_INFO))
        chain = (VkLayerDeviceCreateInfo *)chain->pNext;
    Next *next = entry_of(physical_device);
    if (chain == NULL || next == NULL || next->instance_functions == NULL)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr instance_functions = chain->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    PFN_vkGetDeviceProcAddr device_functions = chain->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;

    const char **names = calloc(request->enabledExtensionCount + 1, sizeof *names);
    if (names == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    bool keep_all = driver_has_extension(next, physical_device);
    VkDeviceCreateInfo filtered = *request;
    filtered.enabledExtensionCount = 0;
    for (uint32_t index = 0; index < request->enabledExtensionCount; index++) {
        const char *name = request->ppEnabledExtensionNames[index];
        if (keep_all || strcmp(name, DROPPED_EXTENSION) != 0)
            names[filtered.enabledExtensionCount++] = name;
    }
    filtered.ppEnabledExtensionNames = names;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)instance_functions(next->instance, "vkCreateDevice");
    VkResult result = create(physical_device, &filtered, allocator, device);
    free(names);
    if (result != VK_SUCCESS)
        return result;
    Next *created = entry_of(*device);
    if (created == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    created->device_functions = device_functions;
    return VK_SUCCESS;
}

static bool is_table_shader(const VkShaderModuleCreateInfo *request) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t index = 0; index < request->codeSize / sizeof(uint32_t); index++)
        hash = (hash ^ request->pCode[index]) * UINT64_C(0x100000001b3);
    return hash == TABLE_SHADER;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_shader_module(VkDevice device, const VkShaderModuleCreateInfo *request,
                                                           const VkAllocationCallbacks *allocator,
                                                           VkShaderModule *module) {
    Next *next = entry_of(device);
    if (next == NULL || next->device_functions == NULL)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkCreateShaderModule create =
        (PFN_vkCreateShaderModule)next->device_functions(device, "vkCreateShaderModule");
    uint32_t *code = is_table_shader(request) ? malloc(request->codeSize) : NULL;
    if (code == NULL)
        return create(device, request, allocator, module);
    memcpy(code, request->pCode, request->codeSize);
    for (size_t place = 0; place < sizeof TABLE_SAMPLES_AT / sizeof *TABLE_SAMPLES_AT; place++)
        code[TABLE_SAMPLES_AT[place]] = 1;
    VkShaderModuleCreateInfo shortened = *request;
    shortened.pCode = code;
    VkResult result = create(device, &shortened, allocator, module);
    free(code);
    return result;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL device_function(VkDevice device, const char *name) {
    if (strcmp(name, "vkGetDeviceProcAddr") == 0)
        return (PFN_vkVoidFunction)device_function;
    if (strcmp(name, "vkCreateShaderModule") == 0)
        return (PFN_vkVoidFunction)create_shader_module;
    Next *next = entry_of(device);
    return next != NULL && next->device_functions != NULL ? next->device_functions(device, name) : NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL instance_function(VkInstance instance, const char *name) {
    if (strcmp(name, "vkGetInstanceProcAddr") == 0)
        return (PFN_vkVoidFunction)instance_function;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0)
        return (PFN_vkVoidFunction)device_function;
    if (strcmp(name, "vkCreateInstance") == 0)
        return (PFN_vkVoidFunction)create_instance;
    if (strcmp(name, "vkCreateDevice") == 0)
        return (PFN_vkVoidFunction)create_device;
    if (instance == VK_NULL_HANDLE)
        return NULL;
    Next *next = entry_of(instance);
    return next != NULL && next->instance_functions != NULL ? next->instance_functions(instance, name) : NULL;
}

__attribute__((visibility("default"))) VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
    if (interface->loaderLayerInterfaceVersion < 2)
        return VK_ERROR_INITIALIZATION_FAILED;
    interface->loaderLayerInterfaceVersion = 2;
    interface->pfnGetInstanceProcAddr = instance_function;
    interface->pfnGetDeviceProcAddr = device_function;
    interface->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
