#version 450

/* The picture of robot and objects, where nothing is transparent and no line or point is drawn: lit pixels in the grey
 * levels of a screen of gamma 2.2, and whose pixels they are. Of the photograph's pixels only the latter has a meaning.
 */

layout(set = 0, binding = 0) uniform sampler2D samplerLighting;
layout(set = 0, binding = 1) uniform usampler2D samplerSegmentation0;

layout(location = 0) in vec2 inUV;
layout(location = 0) out vec4 outColor;
layout(location = 1) out uvec4 outSegmentation;

void main() {
    vec3 linear = texture(samplerLighting, inUV).rgb;
    outColor = vec4(clamp(pow(linear, vec3(1 / 2.2)), vec3(0), vec3(1)), 1);
    outSegmentation = texture(samplerSegmentation0, inUV);
}
